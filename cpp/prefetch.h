// Asks for what lies anywhere in gigabytes before it is needed: memory answers many such requests in
// the time of one.
#pragma once

#include <cstddef>

namespace gingham {

inline void ask_for(const void* address, std::size_t n_bytes) {
#if defined(__GNUC__)
    const auto* byte = static_cast<const char*>(address);
    for (std::size_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(byte + i);
#else
    (void)address, (void)n_bytes;
#endif
}

}  // namespace gingham
