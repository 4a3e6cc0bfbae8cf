// NEON with the dot product instruction (Armv8.2 and later): four int8 products a lane.
#include "lanes_neon.h"
#include "maxsim_body.h"

namespace gingham {
namespace {

struct Int8 : Neon {
    using Stored = std::int8_t;
    using Operand = std::int8_t;
    using Factor = std::int8_t;
    using Query = int8x16_t;
    using Sums = int32x4_t;
    static constexpr std::size_t step = 4;
    static constexpr std::size_t chunk = 16;
    static constexpr bool converts = true;  // not the values, but rows padded to whole products
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        vst1q_s8(out, vld1q_s8(in));
    }
    static GINGHAM_INLINE Sums start(const std::int32_t* bias) { return vld1q_s32(bias); }
    static GINGHAM_INLINE Query load(const Factor* query) { return vld1q_s8(query); }
    static GINGHAM_INLINE Query spread(const Operand* values) {
        std::int32_t four_bytes;
        std::memcpy(&four_bytes, values, sizeof(four_bytes));
        return vreinterpretq_s8_s32(vdupq_n_s32(four_bytes));
    }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
        return vdotq_s32(sums, query, value);
    }
    static GINGHAM_INLINE float32x4_t similarities(Sums sums, const float* scale) {
        return vmulq_n_f32(vcvtq_f32_s32(sums), *scale);
    }
};

}  // namespace

void neondot_int8(const Work& work) { score_document<Int8>(work); }
void neondot_products(const Work& work) { score_document<Kept<Int8>>(work); }

}  // namespace gingham
