// AVX2 with FMA and F16C: 8 lanes, 16 query vectors by 6 document tokens in registers.
#include "lanes_avx2.h"
#include "codec_avx2.h"
#include "maxsim_body.h"

namespace gingham {
namespace {

struct Float32 : Avx2Float32 {};

struct Float16 : Avx2Float32 {
    using Stored = std::uint16_t;
    static constexpr bool converts = true;
    static constexpr std::size_t chunk = 8;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
        _mm256_storeu_ps(out, _mm256_cvtph_ps(halves));
    }
};

// int16 pairs: vpmaddubsw would take bytes, but its sums saturate.
struct Int8 : Avx2Int8 {
    using Stored = std::int8_t;
    using Operand = std::int16_t;
    using Factor = std::int16_t;
    static constexpr std::size_t tile = 4;  // each product needs a register before it is added
    static constexpr std::size_t step = 2;
    static constexpr std::size_t chunk = 16;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
        store(out, _mm256_cvtepi8_epi16(bytes));
    }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
        return _mm256_add_epi32(sums, _mm256_madd_epi16(query, value));
    }
};

}  // namespace

extern const InstructionSet avx2_set;
const InstructionSet avx2_set = {
    "avx2",
    Avx2::lanes,
    Avx2::rows,
    Avx2::tile,
    score_document<Float32>,
    score_document<Float16>,
    score_document<Int8>,
    Int8::step,
    0,
    score_document<Kept<Int8>>,
    decode_rows<Bytes32, Bytes16>,
    encode_rows,
    largest_of,
    above_avx2,
    choose,
};

}  // namespace gingham
