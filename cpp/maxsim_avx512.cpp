// AVX-512 (F, BW, DQ, VL): 16 lanes, 32 query vectors by 12 document tokens in registers.
#include "lanes_avx512.h"
#include "codec_avx512.h"
#include "maxsim_body.h"

namespace gingham {
namespace {

struct Float32 : Avx512Float32 {};

struct Float16 : Avx512Float32 {
    using Stored = std::uint16_t;
    static constexpr bool converts = true;
    static constexpr std::size_t chunk = 16;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
        _mm512_storeu_ps(out, _mm512_cvtph_ps(halves));
    }
};

// Without VNNI: int16 pairs.
struct Int8 : Avx512Int8 {
    using Stored = std::int8_t;
    using Operand = std::int16_t;
    using Factor = std::int16_t;
    static constexpr std::size_t step = 2;
    static constexpr std::size_t chunk = 32;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
        _mm512_storeu_si512(out, _mm512_cvtepi8_epi16(bytes));
    }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
        return _mm512_add_epi32(sums, _mm512_madd_epi16(query, value));
    }
};

}  // namespace

extern const InstructionSet avx512_set;
const InstructionSet avx512_set = {
    "avx512",
    Avx512::lanes,
    Avx512::rows,
    Avx512::tile,
    score_document<Float32>,
    score_document<Float16>,
    score_document<Int8>,
    Int8::step,
    0,
    score_document<Kept<Int8>>,
    decode_rows<Bytes64, Bytes32, Bytes16>,
    encode_rows,
    largest_of,
    above_avx512,
    choose_avx512,
};

}  // namespace gingham
