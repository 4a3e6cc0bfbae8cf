// Fan-out over std::threads that live for one call. No pool: nothing to deadlock in a forked child,
// nothing to shut down, and starting a thread costs some 20 us against milliseconds of work.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

namespace gingham {

// Calls work(worker, begin, end) for chunks of [0, n_items), each exactly once, from at most
// `workers` threads, of which the caller's is one. `work` must not throw.
template <class Function>
void parallel_chunks(std::size_t n_items, std::size_t chunk, std::size_t workers,
                     const Function& work) {
    std::atomic<std::size_t> next{0};
    const auto loop = [&](std::size_t worker) {
        while (true) {
            const std::size_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
            if (begin >= n_items) return;
            work(worker, begin, std::min(begin + chunk, n_items));
        }
    };
    std::vector<std::thread> others;
    others.reserve(workers);
    for (std::size_t worker = 1; worker < workers; ++worker) {
        try {
            others.emplace_back(loop, worker);
        } catch (const std::system_error&) {
            break;  // the process may start no more threads: those that run take all chunks
        }
    }
    loop(0);
    for (std::thread& other : others) other.join();
}

}  // namespace gingham
