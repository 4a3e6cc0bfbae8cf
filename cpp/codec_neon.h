// Registers of bytes for codec_body.h: 16 with NEON.
#pragma once

#include "codec_body.h"
#include "lanes_neon.h"

namespace gingham {
namespace {

struct Bytes16 {
    static constexpr std::size_t width = 16;
    using Register = int8x16_t;
    using Sums = int32x4_t;
    static GINGHAM_INLINE Register load(const void* from) {
        return vld1q_s8(static_cast<const std::int8_t*>(from));
    }
    static GINGHAM_INLINE void store(std::int8_t* to, Register bytes) { vst1q_s8(to, bytes); }
    static GINGHAM_INLINE Register table(const void* points) { return load(points); }
    static GINGHAM_INLINE Sums zero() { return vdupq_n_s32(0); }
    static GINGHAM_INLINE Register low(Register bytes) { return vandq_s8(bytes, vdupq_n_s8(15)); }
    static GINGHAM_INLINE Register high(Register bytes) {
        return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(bytes), 4));
    }
    static GINGHAM_INLINE Register pick(Register points, Register nibbles) {
        return vqtbl1q_s8(points, vreinterpretq_u8_s8(nibbles));
    }
    static GINGHAM_INLINE Register add(Register a, Register b) {
        return vmaxq_s8(vqaddq_s8(a, b), vdupq_n_s8(-127));
    }
    static GINGHAM_INLINE Sums square(Sums sums, Register bytes) {
        const int8x8_t first = vget_low_s8(bytes), second = vget_high_s8(bytes);
        return vpadalq_s16(vpadalq_s16(sums, vmull_s8(first, first)), vmull_s8(second, second));
    }
    static GINGHAM_INLINE std::int32_t total(Sums sums) { return vaddvq_s32(sums); }
    static GINGHAM_INLINE void prefetch(const char* address) { Neon::prefetch(address); }
};

}  // namespace
}  // namespace gingham
