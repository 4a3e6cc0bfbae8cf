// What the NEON units share: 4 lanes, and the parts of `Op` (maxsim_body.h) common to them.
#pragma once

#include <arm_neon.h>

#include "maxsim_body.h"

namespace gingham {
namespace {

struct Neon {
    static constexpr std::size_t lanes = 4, rows = 4, tile = 6;  // 24 of 32 registers are sums
    static constexpr bool keeps = false;
    using Similarities = float32x4_t;
    static GINGHAM_INLINE void store_sums(std::int32_t* to, int32x4_t sums) { vst1q_s32(to, sums); }
    // fmaxnm gives the number where one operand is NaN.
    static GINGHAM_INLINE float32x4_t raise(float32x4_t best, float32x4_t similarities) {
        return vmaxnmq_f32(best, similarities);
    }
    static GINGHAM_INLINE float32x4_t load_best(const float* best) { return vld1q_f32(best); }
    static GINGHAM_INLINE void store_best(float* to, float32x4_t best) { vst1q_f32(to, best); }
    static GINGHAM_INLINE void prefetch(const char* address) {
#if defined(_MSC_VER) && !defined(__clang__)
        __prefetch(address);
#else
        __builtin_prefetch(address);
#endif
    }
};

}  // namespace
}  // namespace gingham
