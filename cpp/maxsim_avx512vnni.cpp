// AVX-512 VNNI: four int8 products a lane in one instruction. The rest is AVX-512's.
#include "lanes_avx512.h"
#include "maxsim_body.h"

namespace gingham {
namespace {

// vpdpbusd multiplies unsigned by signed bytes: documents are shifted by 128 (the sign bit flipped)
// and each sum starts at -128 * (sum of its query codes). The sums do not saturate.
struct Int8 : Avx512Int8 {
    using Stored = std::int8_t;
    using Operand = std::uint8_t;
    using Factor = std::int8_t;
    static constexpr std::size_t step = 4;
    static constexpr std::size_t chunk = 64;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        const __m512i sign = _mm512_set1_epi8(-128);
        _mm512_storeu_si512(out, _mm512_xor_si512(_mm512_loadu_si512(in), sign));
    }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
#if defined(__GNUC__) && !defined(__clang__)
        // GCC copies and spills each sum around the intrinsic, which takes twice the time.
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(value), "v"(query));
        return sums;
#else
        return _mm512_dpbusd_epi32(sums, value, query);
#endif
    }
};

}  // namespace

void avx512vnni_int8(const Work& work) { score_document<Int8>(work); }
void avx512vnni_products(const Work& work) { score_document<Kept<Int8>>(work); }

}  // namespace gingham
