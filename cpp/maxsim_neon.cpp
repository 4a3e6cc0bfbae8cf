// NEON, which every aarch64 processor has: 4 lanes, 16 query vectors by 6 document tokens in
// registers. maxsim_neondot.cpp has the int8 body of processors with the dot product instruction.
#include "lanes_neon.h"
#include "codec_neon.h"
#include "maxsim_body.h"

namespace gingham {
namespace {

struct Float32 : Neon {
    using Stored = float;
    using Operand = float;
    using Factor = float;
    using Query = float32x4_t;
    using Sums = float32x4_t;
    static constexpr std::size_t step = 1;
    static constexpr bool converts = false;
    static GINGHAM_INLINE Sums start(const std::int32_t*) { return vdupq_n_f32(0); }
    static GINGHAM_INLINE Query load(const Factor* query) { return vld1q_f32(query); }
    static GINGHAM_INLINE Query spread(const Operand* value) { return vld1q_dup_f32(value); }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
        return vfmaq_f32(sums, query, value);
    }
    static GINGHAM_INLINE float32x4_t similarities(Sums sums, const float*) { return sums; }
};

struct Float16 : Float32 {
    using Stored = std::uint16_t;
    static constexpr bool converts = true;
    static constexpr std::size_t chunk = 4;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        vst1q_f32(out, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in))));
    }
};

struct Int8 : Neon {
    using Stored = std::int8_t;
    using Operand = std::int16_t;
    using Factor = std::int16_t;
    using Query = int16x4_t;
    using Sums = int32x4_t;
    static constexpr std::size_t step = 1;
    static constexpr std::size_t chunk = 8;
    static constexpr bool converts = true;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        vst1q_s16(out, vmovl_s8(vld1_s8(in)));
    }
    static GINGHAM_INLINE Sums start(const std::int32_t* bias) { return vld1q_s32(bias); }
    static GINGHAM_INLINE Query load(const Factor* query) { return vld1_s16(query); }
    static GINGHAM_INLINE Query spread(const Operand* value) { return vld1_dup_s16(value); }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
        return vmlal_s16(sums, query, value);
    }
    static GINGHAM_INLINE float32x4_t similarities(Sums sums, const float* scale) {
        return vmulq_n_f32(vcvtq_f32_s32(sums), *scale);
    }
};

}  // namespace

extern const InstructionSet neon_set;
const InstructionSet neon_set = {
    "neon",
    Neon::lanes,
    Neon::rows,
    Neon::tile,
    score_document<Float32>,
    score_document<Float16>,
    score_document<Int8>,
    Int8::step,
    0,
    score_document<Kept<Int8>>,
    decode_rows<Bytes16>,
    encode_rows,
    largest_of,
    above,
    choose,
};

}  // namespace gingham
