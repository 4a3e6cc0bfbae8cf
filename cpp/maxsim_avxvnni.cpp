// AVX-VNNI, which processors without AVX-512 have: four int8 products a lane. The rest is AVX2's.
#include "lanes_avx2.h"
#include "maxsim_body.h"

namespace gingham {
namespace {

// vpdpbusd multiplies unsigned by signed bytes: documents are shifted by 128 (the sign bit flipped)
// and each sum starts at -128 * (sum of its query codes). The sums do not saturate.
struct Int8 : Avx2Int8 {
    using Stored = std::int8_t;
    using Operand = std::uint8_t;
    using Factor = std::int8_t;
    static constexpr std::size_t step = 4;
    static constexpr std::size_t chunk = 32;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        store(out, _mm256_xor_si256(load(in), _mm256_set1_epi8(-128)));
    }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
#if defined(__GNUC__) && !defined(__clang__)
        // GCC copies and spills each sum around the intrinsic, which takes twice the time.
        __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(value), "x"(query));
        return sums;
#else
        return _mm256_dpbusd_avx_epi32(sums, value, query);
#endif
    }
};

}  // namespace

void avxvnni_int8(const Work& work) { score_document<Int8>(work); }
void avxvnni_products(const Work& work) { score_document<Kept<Int8>>(work); }

}  // namespace gingham
