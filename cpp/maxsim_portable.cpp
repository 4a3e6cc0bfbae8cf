// Plain C++ at baseline flags, for any processor: 4 lanes, which GCC and Clang keep in a vector of
// whatever kind the baseline has.
#include "codec_body.h"
#include "maxsim_body.h"

namespace gingham {
namespace {

#if defined(__GNUC__)
template <class T>
struct VectorOf {
    typedef T type __attribute__((vector_size(4 * sizeof(T))));
};
template <class T>
using Lanes = typename VectorOf<T>::type;
#else
template <class T>
struct Lanes {
    T at[4];
    T& operator[](std::size_t i) { return at[i]; }
    T operator[](std::size_t i) const { return at[i]; }
    Lanes operator+(const Lanes& other) const {
        return {{T(at[0] + other[0]), T(at[1] + other[1]), T(at[2] + other[2]),
                 T(at[3] + other[3])}};
    }
    Lanes operator*(const T& factor) const {
        return {{T(at[0] * factor), T(at[1] * factor), T(at[2] * factor), T(at[3] * factor)}};
    }
};
#endif

template <class T>
GINGHAM_INLINE Lanes<T> load_lanes(const T* from) {
    Lanes<T> result;
    std::memcpy(&result, from, sizeof(result));
    return result;
}

struct Portable {
    static constexpr std::size_t lanes = 4, rows = 2, tile = 4;
    static constexpr bool keeps = false;
    using Similarities = Lanes<float>;
    static GINGHAM_INLINE Similarities raise(Similarities best, Similarities similarities) {
        for (std::size_t i = 0; i < lanes; ++i)
            best[i] = similarities[i] > best[i] ? similarities[i] : best[i];
        return best;
    }
    static GINGHAM_INLINE Similarities load_best(const float* best) { return load_lanes(best); }
    static GINGHAM_INLINE void store_best(float* to, Similarities best) {
        std::memcpy(to, &best, sizeof(best));
    }
    static GINGHAM_INLINE void prefetch(const char*) {}
};

struct Float32 : Portable {
    using Stored = float;
    using Operand = float;
    using Factor = float;
    using Query = Lanes<float>;
    using Sums = Lanes<float>;
    static constexpr std::size_t step = 1;
    static constexpr bool converts = false;
    static GINGHAM_INLINE Sums start(const std::int32_t*) { return Sums{}; }
    static GINGHAM_INLINE Query load(const Factor* query) { return load_lanes(query); }
    static GINGHAM_INLINE float spread(const Operand* value) { return *value; }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, float value) {
        return sums + query * value;
    }
    static GINGHAM_INLINE Similarities similarities(Sums sums, const float*) { return sums; }
};

struct Float16 : Float32 {
    using Stored = std::uint16_t;
    static constexpr bool converts = true;
    static constexpr std::size_t chunk = 8;
    // IEEE half to single: shift exponent and fraction into place, then scale by 2^112, which
    // corrects the exponent's bias and makes subnormals come out right; infinity and NaN apart.
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) {
        for (std::size_t i = 0; i < chunk; ++i) {
            const std::uint32_t half = in[i];
            std::uint32_t bits = (half & 0x7fffu) << 13;
            float value;
            std::memcpy(&value, &bits, sizeof(value));
            value *= 0x1p112f;
            std::memcpy(&bits, &value, sizeof(value));
            const std::uint32_t special = 0x7f800000u | (half & 0x3ffu) << 13;
            bits = (half & 0x7c00u) == 0x7c00u ? special : bits;
            bits |= (half & 0x8000u) << 16;
            std::memcpy(out + i, &bits, sizeof(bits));
        }
    }
};

struct Int8 : Portable {
    using Stored = std::int8_t;
    using Operand = std::int32_t;
    using Factor = std::int16_t;
    using Query = Lanes<std::int32_t>;
    using Sums = Lanes<std::int32_t>;
    static constexpr std::size_t step = 1;
    static constexpr std::size_t chunk = 1;
    static constexpr bool converts = true;
    static GINGHAM_INLINE void convert(const Stored* in, Operand* out) { *out = *in; }
    static GINGHAM_INLINE Sums start(const std::int32_t* bias) { return load_lanes(bias); }
    static GINGHAM_INLINE Query load(const Factor* query) {
#if defined(__GNUC__)
        return __builtin_convertvector(load_lanes(query), Query);
#else
        return {{query[0], query[1], query[2], query[3]}};
#endif
    }
    static GINGHAM_INLINE std::int32_t spread(const Operand* value) { return *value; }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, std::int32_t value) {
        return sums + query * value;
    }
    static GINGHAM_INLINE void store_sums(std::int32_t* to, Sums sums) {
        std::memcpy(to, &sums, sizeof(sums));
    }
    static GINGHAM_INLINE Similarities similarities(Sums sums, const float* scale) {
        Similarities result;
        for (std::size_t i = 0; i < lanes; ++i) result[i] = static_cast<float>(sums[i]);
        return result * *scale;
    }
};

struct Bytes16 {
    static constexpr std::size_t width = 16;
    struct Register {
        std::int8_t at[16];
    };
    using Sums = std::int32_t;
    static GINGHAM_INLINE Register load(const void* from) {
        Register bytes;
        std::memcpy(bytes.at, from, sizeof(bytes.at));
        return bytes;
    }
    static GINGHAM_INLINE void store(std::int8_t* to, const Register& bytes) {
        std::memcpy(to, bytes.at, sizeof(bytes.at));
    }
    static GINGHAM_INLINE Register table(const void* points) { return load(points); }
    static GINGHAM_INLINE Sums zero() { return 0; }
    static GINGHAM_INLINE Register low(Register bytes) {
        for (std::int8_t& byte : bytes.at) byte = static_cast<std::int8_t>(byte & 15);
        return bytes;
    }
    static GINGHAM_INLINE Register high(Register bytes) {
        for (std::int8_t& byte : bytes.at) byte = static_cast<std::int8_t>(byte >> 4 & 15);
        return bytes;
    }
    static GINGHAM_INLINE Register pick(const Register& points, Register nibbles) {
        for (std::int8_t& nibble : nibbles.at) nibble = points.at[nibble];
        return nibbles;
    }
    static GINGHAM_INLINE Register add(Register a, const Register& b) {
        for (std::size_t i = 0; i < width; ++i) {
            const int sum = a.at[i] + b.at[i];
            a.at[i] = static_cast<std::int8_t>(sum > 127 ? 127 : sum < -127 ? -127 : sum);
        }
        return a;
    }
    static GINGHAM_INLINE Sums square(Sums sums, const Register& bytes) {
        for (const std::int8_t byte : bytes.at) sums += byte * byte;
        return sums;
    }
    static GINGHAM_INLINE std::int32_t total(Sums sums) { return sums; }
    static GINGHAM_INLINE void prefetch(const char*) {}
};

}  // namespace

extern const InstructionSet portable_set;
const InstructionSet portable_set = {
    "portable",
    Portable::lanes,
    Portable::rows,
    Portable::tile,
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
