// Every instruction set that this machine runs against plain loops, without Python: for the
// sanitizers, and for processors that run only in an emulator. First MaxSim, then the codec, then
// the staged search.
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
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "codec.h"
#include "maxsim.h"
#include "packed.h"
#include "search.h"

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

// Exactly `n` numbers, so that the address sanitizer sees any read beyond them.
template <class T>
std::vector<T> numbers(std::mt19937& random, std::size_t n, int low, int high) {
    std::uniform_int_distribution<int> number(low, high);
    std::vector<T> drawn(n);
    for (T& value : drawn) value = static_cast<T>(number(random));
    return drawn;
}

std::int32_t dot(const std::int8_t* a, const std::int8_t* b, std::size_t dim) {
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < dim; ++k) sum += a[k] * b[k];
    return sum;
}

void check_products(const InstructionSet& set) {
    std::mt19937 random(1);
    for (const std::size_t n : {1, 3, 8, 17, 33, 70})
        for (const std::size_t dim : {1, 2, 5, 16, 33, 64, 128, 129})
            for (const std::size_t n_rows : {1, 4, 11, 25}) {
                const auto codes = numbers<std::int8_t>(random, n * dim, -127, 127);
                const auto rows = numbers<std::int8_t>(random, n_rows * dim, -128, 127);
                const auto start = numbers<std::int32_t>(random, n, -1000, 1000);
                const PackedInt8 packed(set, codes.data(), n, dim, start.data());
                AlignedArray<float> scratch(set.tile * scratch_stride(dim));
                std::vector<std::int32_t> sums(n_rows * packed.width());
                products(set, packed, rows.data(), n_rows, dim, scratch.data(), sums.data());
                bool same = true;
                for (std::size_t t = 0; t < n_rows; ++t)
                    for (std::size_t i = 0; i < n; ++i)
                        same &= sums[t * packed.width() + i] ==
                                start[i] + dot(&codes[i * dim], &rows[t * dim], dim);
                expect(same, set, "products", n, dim);
            }
}

void check_largest(const InstructionSet& set) {
    std::mt19937 random(2);
    for (std::size_t n = 1; n < 300; ++n)
        for (const int spread : {1, 1000000}) {  // many equals, or none
            const auto sums = numbers<std::int32_t>(random, n, -spread, 0);
            const auto first = std::max_element(sums.begin(), sums.end()) - sums.begin();
            expect(set.largest(sums.data(), n) == static_cast<std::size_t>(first), set, "largest",
                   n, 1);
        }
}

void check_above(const InstructionSet& set) {
    std::mt19937 random(5);
    for (int round = 0; round < 200; ++round) {
        const std::size_t n_rows = static_cast<std::size_t>(round) % 5, stride = 12 + n_rows;
        auto sums = numbers<std::int32_t>(random, n_rows * stride + 16, -2, 2);
        auto limits = numbers<std::int32_t>(random, 16, -2, 2);
        if (round % 2) limits[3] = INT32_MAX, limits[9] = INT32_MIN, sums[5] = INT32_MIN;
        std::vector<std::uint16_t> masks(n_rows);
        set.above(sums.data(), stride, n_rows, limits.data(), masks.data());
        for (std::size_t row = 0; row < n_rows; ++row) {
            std::uint32_t mask = 0;
            for (std::uint32_t i = 0; i < 16; ++i)
                if (sums[row * stride + i] > limits[i]) mask |= 1u << i;
            expect(masks[row] == mask, set, "above", 16, n_rows);
        }
    }
}

void check_choose(const InstructionSet& set) {
    std::mt19937 random(6);
    Residuals codec{};
    for (const std::size_t n_centroids : {1, 5, 63, 64, 65, 700, 1 << 20})
        for (const std::size_t n : {0, 1, 2, 15, 16, 17, 31, 33, 77, 300}) {
            codec.n_centroids = n_centroids;
            const auto codes = numbers<std::uint8_t>(random, n * kCodeBytes, 0, 255);
            std::vector<std::uint64_t> wanted;
            for (const auto half : numbers<std::uint32_t>(random, n_centroids / 64 + 1, 0, INT32_MAX))
                wanted.push_back(half * 0x100000001u);
            std::vector<std::uint32_t> tokens(n + 16), centroids(n + 16);
            for (const std::size_t first : {std::size_t{0}, n / 3}) {  // others follow, or none do
                const std::uint8_t* from = codes.data() + first * kCodeBytes;
                const std::size_t own = first ? n / 4 : n, readable = n - first;
                const std::size_t found = set.choose(codec, from, own, readable, wanted.data(),
                                                     tokens.data(), centroids.data());
                std::size_t expected = 0;
                bool same = true;
                for (std::size_t t = 0; t < own; ++t) {
                    const std::uint32_t centroid = centroid_of(from + t * kCodeBytes, n_centroids);
                    if ((wanted[centroid / 64] >> centroid % 64 & 1) == 0) continue;
                    same &= expected < found && tokens[expected] == t &&
                            centroids[expected] == centroid;
                    ++expected;
                }
                expect(same && found == expected, set, "choose", n_centroids, own);
            }
        }
}

// A codebook that nothing was trained on.
struct Book {
    std::vector<std::int8_t> supers, centroids, points;
    std::vector<std::int64_t> children, levels;
    Codebook view;

    Book(std::mt19937& random, std::size_t source, std::size_t bits, std::size_t n_supers,
         std::size_t n_children) {
        const std::size_t unit = 128 / bits, dim = (source + unit - 1) / unit * unit;
        const std::size_t n = n_supers * n_children, parts = 4 / bits;
        supers = numbers<std::int8_t>(random, n_supers * dim, -60, 60);
        centroids = numbers<std::int8_t>(random, n * dim, -127, 127);
        points = numbers<std::int8_t>(random, kLevels * parts * kPoints, -127, 127);
        if (parts == 1)
            for (std::size_t level = 0; level < kLevels; ++level)
                std::sort(&points[level * kPoints], &points[level * kPoints] + kPoints);
        levels = numbers<std::int64_t>(random, kLevels - 1, 0, 1 << 28);
        std::sort(levels.begin(), levels.end());
        for (std::size_t i = 0; i <= n_supers; ++i)
            children.push_back(static_cast<std::int64_t>(i * n_children));
        view = {{dim, source, bits, 250.0f, centroids.data(), n, points.data(), levels.data()},
                supers.data(),
                children.data(),
                n_supers};
    }
};

// One token, dimension by dimension; returns what it is multiplied by.
float plain_row(const Residuals& codec, const std::uint8_t* code, const std::uint8_t* residual,
                std::int8_t* row) {
    const std::int8_t* centroid =
        codec.centroids + centroid_of(code, codec.n_centroids) * codec.dim;
    const std::size_t level = code[2] >> 4, n_bytes = codec.row_bytes();
    std::int32_t squares = 0;
    for (std::size_t k = 0; k < codec.dim; ++k) {
        if (codec.bits == 8) {
            row[k] = static_cast<std::int8_t>(residual[k]);
        } else {
            const std::size_t nibble = k % (2 * n_bytes), part = k / (2 * n_bytes);
            const std::size_t number =
                nibble < n_bytes ? residual[nibble] & 15 : residual[nibble - n_bytes] >> 4;
            const int sum =
                centroid[k] + codec.points[(level * (4 / codec.bits) + part) * kPoints + number];
            row[k] = static_cast<std::int8_t>(std::clamp(sum, -127, 127));
        }
        squares += row[k] * row[k];
    }
    return squares > 0 ? 1.0f / std::sqrt(static_cast<float>(squares)) : 0.0f;
}

void check_decode(const InstructionSet& set, std::size_t source, std::size_t bits) {
    std::mt19937 random(static_cast<unsigned>(source * 10 + bits));
    const Book book(random, source, bits, 3, 5);
    const Residuals& codec = book.view.residuals;
    for (const std::size_t n : {1, 13, 40}) {
        // Most codes are beyond the centroids, as if damaged.
        auto codes = numbers<std::uint8_t>(random, n * kCodeBytes, 0, 255);
        codes[0] = 15, codes[1] = 0, codes[2] = 0x70;  // the first beyond
        auto residuals = numbers<std::uint8_t>(random, n * codec.row_bytes(), 0, 255);
        if (bits == 8) std::replace(residuals.begin(), residuals.end(), 0x80, 0);
        const auto picks = numbers<std::uint32_t>(random, n, 0, static_cast<int>(n) - 1);
        for (const bool picking : {false, true}) {
            const std::uint32_t* picked = picking ? picks.data() : nullptr;
            std::vector<std::int8_t> rows(n * codec.dim), row(codec.dim);
            std::vector<float> scales(n);
            set.decode(codec, codes.data(), residuals.data(), picked, n, rows.data(),
                       scales.data());
            bool same = true;
            for (std::size_t t = 0; t < n; ++t) {
                const std::size_t token = picked ? picked[t] : t;
                const float scale = plain_row(codec, &codes[token * kCodeBytes],
                                              &residuals[token * codec.row_bytes()], row.data());
                same &= scale == scales[t];
                same &= std::memcmp(row.data(), &rows[t * codec.dim], codec.dim) == 0;
            }
            expect(same, set, "decode", bits, source);
        }
    }
}

void plain_encode(const Residuals& codec, const float* values, std::uint32_t centroid,
                  std::uint8_t* code, std::uint8_t* residual) {
    code[0] = static_cast<std::uint8_t>(centroid);
    code[1] = static_cast<std::uint8_t>(centroid >> 8);
    code[2] = static_cast<std::uint8_t>(centroid >> 16);
    const auto on_grid = [](float value, float limit) {
        return static_cast<int>(std::nearbyintf(std::clamp(value, -limit, limit)));
    };
    if (codec.bits == 8) {
        float largest = 0;
        for (std::size_t k = 0; k < codec.source; ++k)
            largest = std::max(largest, std::fabs(values[k]));
        const float scale = largest > 0 ? 127.0f / largest : 0.0f;
        for (std::size_t k = 0; k < codec.dim; ++k)
            residual[k] = static_cast<std::uint8_t>(
                k < codec.source ? on_grid(values[k] * scale, 127) : 0);
        return;
    }
    std::vector<int> fine(codec.dim);
    std::int64_t squares = 0;
    for (std::size_t k = 0; k < codec.dim; ++k) {
        if (k < codec.source) fine[k] = on_grid(values[k] * (codec.scale * kFiner), 127 * kFiner);
        fine[k] -= kFiner * codec.centroids[centroid * codec.dim + k];
        squares += fine[k] * fine[k];
    }
    std::size_t level = 0;
    while (level < kLevels - 1 && codec.levels[level] <= squares) ++level;
    code[2] = static_cast<std::uint8_t>(code[2] | level << 4);
    const std::size_t parts = 4 / codec.bits, n_bytes = codec.row_bytes();
    for (std::size_t nibble = 0; nibble < 2 * n_bytes; ++nibble) {
        const std::int8_t* points = codec.points + level * parts * kPoints;
        std::size_t nearest = 0, least = SIZE_MAX;
        for (std::size_t p = 0; p < kPoints; ++p) {
            std::size_t distance = 0;
            for (std::size_t part = 0; part < parts; ++part) {
                const int off =
                    fine[part * 2 * n_bytes + nibble] - kFiner * points[part * kPoints + p];
                distance += static_cast<std::size_t>(off * off);
            }
            // Among equal points on a line, what lies above them passes them all.
            const bool above = parts == 1 && p > 0 && points[p] == points[p - 1] &&
                               fine[nibble] > kFiner * points[p];
            if (distance < least || (distance == least && above)) least = distance, nearest = p;
        }
        const std::size_t byte = nibble % n_bytes, shift = nibble < n_bytes ? 0 : 4;
        residual[byte] = static_cast<std::uint8_t>((shift ? residual[byte] : 0) | nearest << shift);
    }
}

void check_encode(const InstructionSet& set, std::size_t source, std::size_t bits) {
    std::mt19937 random(static_cast<unsigned>(source * 10 + bits));
    const Book book(random, source, bits, 3, 5);
    const Residuals& codec = book.view.residuals;
    constexpr std::size_t n = 9;
    auto values = numbers<float>(random, n * source, -700, 700);
    for (float& value : values) value /= 1000;
    std::fill_n(values.begin(), source, 0.0f);
    const auto centroids = numbers<std::uint32_t>(random, n, 0, 14);
    std::vector<std::uint8_t> codes(n * kCodeBytes), residuals(n * codec.row_bytes());
    set.encode(codec, values.data(), centroids.data(), n, codes.data(), residuals.data());
    std::vector<std::uint8_t> plain_codes(codes.size()), plain(residuals.size());
    for (std::size_t t = 0; t < n; ++t)
        plain_encode(codec, &values[t * source], centroids[t], &plain_codes[t * kCodeBytes],
                     &plain[t * codec.row_bytes()]);
    expect(codes == plain_codes && residuals == plain, set, "encode", bits, source);
}

void check_clusters(const InstructionSet& set) {
    std::mt19937 random(3);
    constexpr std::size_t n = 5000, dim = 24, n_groups = 3;
    const auto rows = numbers<std::int8_t>(random, n * dim, -127, 127);
    const std::int64_t groups[] = {0, 4990, 4993, 5000}, children[] = {0, 70, 73, 74};
    std::vector<std::int8_t> centroids(74 * dim), again(centroids.size());
    kmeans(rows.data(), groups, n_groups, dim, children, 2, centroids.data(), 1, set);
    kmeans(rows.data(), groups, n_groups, dim, children, 2, again.data(), 3, set);
    expect(centroids == again, set, "kmeans", n_groups, dim);
    const auto parents = numbers<std::uint32_t>(random, n, 0, n_groups - 1);
    std::vector<std::uint32_t> nearest(n);
    nearest_child(rows.data(), parents.data(), n, dim, centroids.data(), children, n_groups,
                  nearest.data(), 2, set);
    bool same = true;
    for (std::size_t i = 0; i < n; ++i) {
        std::int64_t best = children[parents[i]];
        std::int32_t most = INT32_MIN;
        for (std::int64_t c = children[parents[i]]; c < children[parents[i] + 1]; ++c) {
            const std::int8_t* centroid = &centroids[static_cast<std::size_t>(c) * dim];
            const std::int32_t closeness =
                dot(&rows[i * dim], centroid, dim) - dot(centroid, centroid, dim) / 2;
            if (closeness > most) most = closeness, best = c;
        }
        same &= best == static_cast<std::int64_t>(nearest[i]);
    }
    expect(same, set, "nearest", n_groups, dim);
}

// Passages of any tokens, and their lists.
struct Coded {
    std::vector<std::uint8_t> codes, residuals;
    std::vector<std::int64_t> offsets{0}, lists{0};
    std::vector<std::uint16_t> postings;
    std::vector<std::uint64_t> eligible;

    Coded(std::mt19937& random, const Residuals& codec, const std::vector<int>& lengths) {
        std::vector<std::map<std::size_t, std::vector<std::uint16_t>>> runs(codec.n_centroids);
        const int last = static_cast<int>(codec.n_centroids) - 1;
        for (std::size_t passage = 0; passage < lengths.size(); ++passage) {
            for (int t = 0; t < lengths[passage]; ++t) {
                const std::uint32_t centroid = numbers<std::uint32_t>(random, 1, 0, last)[0];
                for (const unsigned shift : {0u, 8u, 16u})
                    codes.push_back(static_cast<std::uint8_t>(centroid >> shift));
                const auto low = static_cast<std::uint16_t>(passage);
                auto& run = runs[centroid][passage >> 16];
                if (run.empty() || run.back() != low) run.push_back(low);
            }
            offsets.push_back(offsets.back() + lengths[passage]);
        }
        const auto n_tokens = static_cast<std::size_t>(offsets.back());
        residuals = numbers<std::uint8_t>(random, n_tokens * codec.row_bytes(), 0, 127);
        for (const auto& list : runs) {
            for (const auto& [high, lows] : list) {
                postings.push_back(static_cast<std::uint16_t>(high));
                postings.push_back(static_cast<std::uint16_t>(lows.size() - 1));
                postings.insert(postings.end(), lows.begin(), lows.end());
            }
            lists.push_back(static_cast<std::int64_t>(postings.size()));
        }
        eligible = numbers<std::uint64_t>(random, (lengths.size() + 63) / 64, 0, INT32_MAX);
        for (std::uint64_t& word : eligible) word = word * 0x9E3779B97F4A7C15u | 1;
        postings.shrink_to_fit(), lists.shrink_to_fit();
        offsets.shrink_to_fit(), codes.shrink_to_fit();
    }

    Segment view(bool all) const {
        return {codes.data(), residuals.data(), codes.size() / kCodeBytes,  offsets.data(),
                offsets.size() - 1, lists.data(), postings.data(), postings.size(),
                all ? nullptr : eligible.data()};
    }
};

using Probes = std::vector<std::vector<Probe>>;

Probes plain_probes(const PackedQuery& query, const Codebook& book, std::size_t n_supers,
                    std::size_t n_probes) {
    const auto best_of = [&](std::size_t i, const std::int8_t* rows,
                             const std::vector<std::uint32_t>& wanted, std::size_t keep) {
        std::vector<Probe> all;
        for (const std::uint32_t row : wanted)
            all.push_back({row, dot(query.quantized.codes.data() + i * query.dim,
                                    rows + row * query.dim, query.dim)});
        std::stable_sort(all.begin(), all.end(), [](const Probe& a, const Probe& b) {
            return a.product > b.product;
        });
        all.resize(std::min(keep, all.size()));
        return all;
    };
    std::vector<std::uint32_t> supers(book.n_supers), centroids;
    for (std::uint32_t i = 0; i < supers.size(); ++i) supers[i] = i;
    std::vector<bool> chosen(book.n_supers);
    for (std::size_t i = 0; i < query.n_vectors; ++i)
        for (const Probe& super : best_of(i, book.supers, supers, n_supers))
            chosen[super.centroid] = true;
    for (std::size_t super = 0; super < book.n_supers; ++super)
        for (auto c = book.children[super]; chosen[super] && c < book.children[super + 1]; ++c)
            centroids.push_back(static_cast<std::uint32_t>(c));
    Probes probes;
    for (std::size_t i = 0; i < query.n_vectors; ++i) {
        probes.push_back(best_of(i, book.residuals.centroids, centroids, n_probes + 1));
        if (probes[i].size() <= n_probes) probes[i].push_back(probes[i].back());
    }
    return probes;
}

// Whether just those eligible passages were found that have a token of a gathered centroid.
bool plausible(std::vector<Candidate> found, const Probes& probes,
               const std::vector<Segment>& segments, const Residuals& codec) {
    std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
        return a.segment != b.segment ? a.segment < b.segment : a.passage < b.passage;
    });
    std::size_t n = 0;
    for (std::uint32_t s = 0; s < segments.size(); ++s)
        for (std::uint32_t passage = 0; passage < segments[s].n_passages; ++passage) {
            bool named = false;
            for (auto t = segments[s].offsets[passage]; t < segments[s].offsets[passage + 1]; ++t) {
                const auto* code = segments[s].codes + static_cast<std::size_t>(t) * kCodeBytes;
                const std::uint32_t centroid = centroid_of(code, codec.n_centroids);
                for (const auto& list : probes)
                    for (std::size_t p = 0; p + 1 < list.size(); ++p)
                        named |= list[p].centroid == centroid;
            }
            const std::uint64_t* bits = segments[s].eligible;
            if (!named || (bits && (bits[passage / 64] >> passage % 64 & 1) == 0)) continue;
            if (n == found.size() || found[n].segment != s || found[n].passage != passage ||
                found[n].total > 65535)
                return false;
            ++n;
        }
    return n == found.size();
}

void check_search(const InstructionSet& set, std::size_t source, std::size_t bits,
                  std::size_t n_query, std::size_t n_children, std::size_t n_probes) {
    std::mt19937 random(static_cast<unsigned>(source + bits + n_query + n_probes));
    const Book book(random, source, bits, 5, n_children);
    const Residuals& codec = book.view.residuals;
    std::vector<int> lengths = {0, 1, 70, 3, 64, 0, 2, 130};
    lengths.resize(100, 2);
    const Coded one(random, codec, lengths), other(random, codec, {1, 2, 3});
    const std::vector<Segment> segments = {one.view(n_query % 2 == 0), other.view(true),
                                           one.view(false)};
    auto values = numbers<float>(random, n_query * source, -100, 100);
    const Query raw{values.data(), n_query, source};
    const PackedQuery query(raw, codec.dim, set);
    const std::vector<float> pooled = pool(raw);
    expect(pooled.size() <= values.size() && pooled.size() % source == 0, set, "pool", n_query,
           source);

    const Probed probed = probe(query, book.view, 2, n_probes, set);
    const Probes plain = plain_probes(query, book.view, 2, n_probes);
    bool same = probed.best.size() == plain.size();
    for (std::size_t i = 0; same && i < plain.size(); ++i) {
        same &= probed.best[i].size() == plain[i].size();
        for (std::size_t p = 0; same && p < plain[i].size(); ++p)
            same &= probed.best[i][p].centroid == plain[i][p].centroid &&
                    probed.best[i][p].product == plain[i][p].product;
    }
    expect(same, set, "probe", n_query, source);

    const auto every = gather(query, probed.best, segments, 1000);
    expect(plausible(every, plain, segments, codec), set, "gather", n_query, source);
    const auto same_candidate = [](const Candidate& a, const Candidate& b) {
        return a.segment == b.segment && a.passage == b.passage && a.total == b.total;
    };
    const auto is_better = [](const Candidate& a, const Candidate& b) {
        if (a.total != b.total) return a.total > b.total;
        return a.segment != b.segment ? a.segment < b.segment : a.passage < b.passage;
    };
    expect(std::is_sorted(every.begin(), every.end(), is_better), set, "gather in order", n_query,
           source);
    for (const std::size_t n : {1, 10, 50}) {
        const auto some = gather(query, probed.best, segments, n);
        expect(some.size() == std::min(n, every.size()) &&
                   std::equal(some.begin(), some.end(), every.begin(), same_candidate),
               set, "gather the best", n_query, source);
    }
    const auto sifted = sift(query, book.view, probed.near, segments, every, 3, 0.5, 7, 2, set).kept;
    expect(sifted.size() == std::min<std::size_t>(7, every.size()), set, "sift", n_query, source);

    std::vector<float> scores(every.size());
    refine(query, book.view, segments, every.data(), every.size(), scores.data(), 2, set);
    std::vector<std::int8_t> row(codec.dim);
    for (std::size_t i = 0; i < every.size(); ++i) {
        const Segment& segment = segments[every[i].segment];
        std::vector<float> maxima(n_query, -std::numeric_limits<float>::infinity());
        for (auto t = segment.offsets[every[i].passage]; t < segment.offsets[every[i].passage + 1];
             ++t) {
            const auto token = static_cast<std::size_t>(t);
            const float scale =
                plain_row(codec, segment.codes + token * kCodeBytes,
                          segment.residuals + token * codec.row_bytes(), row.data());
            for (std::size_t j = 0; j < n_query; ++j)
                maxima[j] = std::max(
                    maxima[j], scale * static_cast<float>(dot(query.quantized.codes.data() +
                                                                  j * codec.dim,
                                                              row.data(), codec.dim)));
        }
        float score = 0;
        for (std::size_t j = 0; j < n_query; ++j) {
            const volatile float part = query.quantized.scales[j] * maxima[j];  // never fused
            score += part;
        }
        expect(scores[i] == score, set, "refine", n_query, source);
    }
}

// Any number in the arrays of a segment may be wrong: an exception or any answer, but no fault.
void check_damage(const InstructionSet& set) {
    std::mt19937 random(4);
    const Book book(random, 24, 4, 2, 4);
    const Residuals& codec = book.view.residuals;
    const Coded sound(random, codec, std::vector<int>(40, 3));
    const auto values = numbers<float>(random, 4 * 24, -100, 100);
    const PackedQuery query({values.data(), 4, 24}, codec.dim, set);
    const Probed probed = probe(query, book.view, 2, 8, set);
    const auto expected = gather(query, probed.best, {sound.view(true)}, 30);
    const std::int64_t far[] = {INT64_MIN, -1, 0, 1, 65535, INT64_MAX};
    std::size_t refused = 0;
    for (int round = 0; round < 600; ++round) {
        Coded damaged = sound;
        const auto drawn = numbers<std::uint32_t>(random, 3, 0, INT32_MAX);
        const std::int64_t value = drawn[1] % 2 ? far[drawn[2] % 6] : drawn[2] % 500;
        const auto spoil = [&](auto& array) {
            array[drawn[0] % array.size()] =
                static_cast<std::remove_reference_t<decltype(array[0])>>(value);
        };
        if (round % 4 == 0) spoil(damaged.lists);
        if (round % 4 == 1) spoil(damaged.postings);
        if (round % 4 == 2) spoil(damaged.offsets);
        if (round % 4 == 3) spoil(damaged.codes);
        const std::vector<Segment> segments = {damaged.view(true)};
        try {
            const auto found = sift(query, book.view, probed.near, segments,
                                    gather(query, probed.best, segments, 30), 5, 0.5, 20, 1, set)
                                   .kept;
            std::vector<float> scores(found.size());
            refine(query, book.view, segments, found.data(), found.size(), scores.data(), 1, set);
        } catch (const std::invalid_argument&) {
            ++refused;
        }
        const auto again = gather(query, probed.best, {sound.view(true)}, 30);
        bool same = again.size() == expected.size();
        for (std::size_t i = 0; same && i < again.size(); ++i)
            same &= again[i].passage == expected[i].passage && again[i].total == expected[i].total;
        expect(same, set, "a search after a damaged one", 4, 24);
    }
    expect(refused > 100, set, "damage was taken", 4, 24);
}

void check_codec(const InstructionSet& set) {
    check_products(set);
    check_largest(set);
    check_above(set);
    check_choose(set);
    for (const std::size_t bits : {1, 2, 4, 8})
        for (const std::size_t source : {1, 16, 24, 31, 33, 48, 96, 128, 129, 200}) {
            check_decode(set, source, bits);
            check_encode(set, source, bits);
        }
    check_clusters(set);
    for (const std::size_t bits : {1, 2, 4, 8})
        for (const std::size_t n_query : {1, 5, 31, 33, 70}) {
            check_search(set, 24, bits, n_query, 7, 3);
            check_search(set, 128, bits, n_query, 7, 60);  // more probes than centroids
            check_search(set, 24, bits, n_query, 150, 20);
        }
    check_damage(set);
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
        check_codec(*set);
    }
    check_hostile();
    std::printf(failures ? "%d failures\n" : "all agree\n", failures);
    return failures != 0;
}
