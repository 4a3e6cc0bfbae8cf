// Every instruction set that this machine runs against a double-precision loop, without Python:
// for the sanitizers, and for processors that run only in an emulator.
//
//   cmake -S . -B build/check -DGINGHAM_CPP_TESTS=ON -DGINGHAM_SANITIZE=address,undefined
//   cmake --build build/check && build/check/check_kernels
//
// NEON without an Arm machine (Debian: apt install qemu-user g++-aarch64-linux-gnu):
//
//   cmake -S . -B build/arm -DGINGHAM_CPP_TESTS=ON -DCMAKE_SYSTEM_NAME=Linux
//     -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++
//   cmake --build build/arm && qemu-aarch64 -L /usr/aarch64-linux-gnu build/arm/check_kernels
//
// (-cpu cortex-a53 has no dot product instruction, -cpu max has.)
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "maxsim.h"

namespace {

using namespace gingham;

int failures = 0;

void expect(bool holds, const InstructionSet& set, const char* what, std::size_t n_query,
            std::size_t dim) {
    if (holds) return;
    ++failures;
    std::printf("FAILED %s: %s, %zu query vectors of %zu dimensions\n", set.name, what, n_query, dim);
}

// Halves that are exact: small integers over 64.
std::uint16_t half_of(int numerator) {
    const float value = std::fabs(static_cast<float>(numerator)) / 64;
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    const std::uint32_t exponent = bits >> 23 & 0xff;
    if (value == 0) return 0;
    return static_cast<std::uint16_t>((numerator < 0 ? 0x8000u : 0u) | (exponent - 112) << 10 |
                                      (bits >> 13 & 0x3ff));
}

struct Case {
    std::size_t n_query, dim;
    std::vector<float> query, floats, scales;
    std::vector<std::uint16_t> halves;
    std::vector<std::int8_t> bytes;
    std::vector<std::int64_t> offsets{0};
};

// Exactly sized arrays, so that the address sanitizer sees any read beyond them.
Case draw(std::size_t n_query, std::size_t dim, const std::vector<int>& lengths) {
    std::mt19937 random(static_cast<unsigned>(n_query * 1000 + dim));
    std::uniform_int_distribution<int> number(-128, 127);
    Case drawn{n_query, dim, {}, {}, {}, {}, {}, {0}};
    for (const int length : lengths) drawn.offsets.push_back(drawn.offsets.back() + length);
    const auto n_tokens = static_cast<std::size_t>(drawn.offsets.back());
    for (std::size_t i = 0; i < n_query * dim; ++i)
        drawn.query.push_back(static_cast<float>(number(random)) / 64);
    for (std::size_t i = 0; i < n_tokens * dim; ++i) {
        const int drawn_number = number(random);
        drawn.floats.push_back(static_cast<float>(drawn_number) / 64);
        drawn.halves.push_back(half_of(drawn_number));
        drawn.bytes.push_back(static_cast<std::int8_t>(drawn_number));
    }
    for (std::size_t i = 0; i < n_tokens; ++i)
        drawn.scales.push_back(static_cast<float>(number(random) + 200) / 4096);
    return drawn;
}

std::vector<float> scores(const Case& drawn, Type type, const InstructionSet& set,
                          std::size_t threads) {
    const void* values = type == Type::float32   ? static_cast<const void*>(drawn.floats.data())
                         : type == Type::float16 ? static_cast<const void*>(drawn.halves.data())
                                                 : static_cast<const void*>(drawn.bytes.data());
    const Documents documents{type,
                              values,
                              type == Type::int8 ? drawn.scales.data() : nullptr,
                              drawn.scales.size(),
                              drawn.offsets.data(),
                              drawn.offsets.size() - 1};
    std::vector<float> result(documents.n_documents);
    maxsim({drawn.query.data(), drawn.n_query, drawn.dim}, documents, nullptr, result.size(),
           result.data(), threads, set);
    return result;
}

double expected_float(const Case& drawn, std::size_t document) {
    double sum = 0;
    for (std::size_t i = 0; i < drawn.n_query; ++i) {
        double best = -std::numeric_limits<double>::infinity();
        for (auto j = drawn.offsets[document]; j < drawn.offsets[document + 1]; ++j) {
            double dot = 0;
            for (std::size_t k = 0; k < drawn.dim; ++k)
                dot += double{drawn.query[i * drawn.dim + k]} *
                       double{drawn.floats[static_cast<std::size_t>(j) * drawn.dim + k]};
            best = std::fmax(best, dot);
        }
        sum += best;
    }
    return sum;
}

void check(const Case& drawn, const InstructionSet& set) {
    const InstructionSet& portable = instruction_set("portable");
    const auto wide = scores(drawn, Type::float32, set, 1);
    const auto half = scores(drawn, Type::float16, set, 3);
    for (std::size_t i = 0; i < wide.size(); ++i) {
        const double expected = expected_float(drawn, i);
        const double tolerance = 1e-6 * static_cast<double>(drawn.dim * (drawn.n_query + 1)) + 1e-5;
        const bool same = std::isinf(expected) ? expected == double{wide[i]}
                                               : std::fabs(expected - wide[i]) < tolerance;
        expect(same, set, "float32", drawn.n_query, drawn.dim);
    }
    const auto equal = [](const std::vector<float>& a, const std::vector<float>& b) {
        return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };
    // The halves hold the same numbers, so the same instructions must give the same bytes.
    expect(equal(wide, half), set, "float16", drawn.n_query, drawn.dim);
    const auto bytes = scores(drawn, Type::int8, set, 2);
    const auto portable_bytes = scores(drawn, Type::int8, portable, 1);
    expect(equal(bytes, portable_bytes), set, "int8", drawn.n_query, drawn.dim);
}

void check_hostile() {
    const float values[4] = {};
    const std::int64_t offsets[] = {0, 5, 1};
    const std::int64_t selections[] = {-1, 0, 1, 2};
    float score;
    for (const std::int64_t& selected : selections) {
        bool refused = false;
        try {
            maxsim({values, 1, 1}, {Type::float32, values, nullptr, 4, offsets, 2}, &selected, 1,
                   &score, 1, *instruction_sets().front());
        } catch (const std::invalid_argument&) {
            refused = true;
        }
        expect(refused, *instruction_sets().front(), "hostile input was taken", 1, 1);
    }
}

}  // namespace

int main() {
    const std::vector<int> lengths = {0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25, 0, 60};
    for (const InstructionSet* set : instruction_sets()) {
        std::printf("%s\n", set->name);
        for (const std::size_t n_query : {1, 4, 5, 8, 15, 16, 17, 32, 33, 49, 70})
            for (const std::size_t dim : {1, 2, 3, 4, 7, 8, 16, 33, 64, 127, 128, 129})
                check(draw(n_query, dim, lengths), *set);
        check(draw(32, 128, std::vector<int>(400, 40)), *set);  // enough for several threads
    }
    check_hostile();
    std::printf(failures ? "%d failures\n" : "all agree\n", failures);
    return failures != 0;
}
