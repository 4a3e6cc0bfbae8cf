// Asks for what lies anywhere in gigabytes before it is needed: memory answers many such requests in
// the time of one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gingham {

inline void ask_for(const void* address, std::size_t n_bytes) {
#if defined(__GNUC__)
    const auto* byte = static_cast<const char*>(address);
    const auto* const end = byte + n_bytes;
    for (byte -= reinterpret_cast<std::uintptr_t>(byte) % 64; byte < end; byte += 64)
        __builtin_prefetch(byte);
#else
    (void)address, (void)n_bytes;
#endif
}

}  // namespace gingham
