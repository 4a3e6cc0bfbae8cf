// What the AVX2 units share: 8 lanes, and the parts of `Op` (maxsim_body.h) common to them.
#pragma once

#include <immintrin.h>

#include "maxsim_body.h"

namespace gingham {
namespace {

struct Avx2 {
    static constexpr std::size_t lanes = 8, rows = 2, tile = 6;  // 12 of 16 registers are sums
    static constexpr bool keeps = false;
    using Similarities = __m256;
    // vmaxps gives its second operand where either is NaN.
    static GINGHAM_INLINE __m256 raise(__m256 best, __m256 similarities) {
        return _mm256_max_ps(similarities, best);
    }
    static GINGHAM_INLINE __m256 load_best(const float* best) { return _mm256_loadu_ps(best); }
    static GINGHAM_INLINE void store_best(float* to, __m256 best) { _mm256_storeu_ps(to, best); }
    static GINGHAM_INLINE void prefetch(const char* address) {
        _mm_prefetch(address, _MM_HINT_T0);
    }
};

struct Avx2Float32 : Avx2 {
    using Stored = float;
    using Operand = float;
    using Factor = float;
    using Query = __m256;
    using Sums = __m256;
    static constexpr std::size_t step = 1;
    static constexpr bool converts = false;
    static GINGHAM_INLINE Sums start(const std::int32_t*) { return _mm256_setzero_ps(); }
    static GINGHAM_INLINE Query load(const Factor* query) { return _mm256_loadu_ps(query); }
    static GINGHAM_INLINE Query spread(const Operand* value) { return _mm256_set1_ps(*value); }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
        return _mm256_fmadd_ps(query, value, sums);
    }
    static GINGHAM_INLINE __m256 similarities(Sums sums, const float*) { return sums; }
};

struct Avx2Int8 : Avx2 {
    using Query = __m256i;
    using Sums = __m256i;
    static constexpr bool converts = true;
    static GINGHAM_INLINE __m256i load(const void* from) {
        return _mm256_loadu_si256(static_cast<const __m256i*>(from));
    }
    static GINGHAM_INLINE void store(void* to, __m256i value) {
        _mm256_storeu_si256(static_cast<__m256i*>(to), value);
    }
    static GINGHAM_INLINE Sums start(const std::int32_t* bias) { return load(bias); }
    static GINGHAM_INLINE Query spread(const void* values) {
        std::int32_t four_bytes;
        std::memcpy(&four_bytes, values, sizeof(four_bytes));
        return _mm256_set1_epi32(four_bytes);
    }
    static GINGHAM_INLINE void store_sums(std::int32_t* to, Sums sums) { store(to, sums); }
    static GINGHAM_INLINE __m256 similarities(Sums sums, const float* scale) {
        return _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(*scale));
    }
};

}  // namespace
}  // namespace gingham
