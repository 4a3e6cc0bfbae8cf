// How a token vector is kept in a clustered segment, and the kernels that make and read it.
//
// A vector is a centroid plus a residual, both on one grid: component * scale, as int8. A code is
// three bytes: 20 bits of centroid and 4 bits of level, little-endian. The level, of 16, is the
// length of the residual. Each nibble of the residual codes 4 / bits dimensions at once by one of 16
// points (LBG, the Lloyd-Max quantiser of vectors: https://doi.org/10.1109/TCOM.1980.1094577);
// nibble n codes the dimensions n, n + dim * bits / 4, ... and is the low half of byte n where
// n < dim * bits / 8, else the high half of byte n - dim * bits / 8. A decoded vector is
//     clip(centroid + points[level][nibble], -127, 127), divided by its own length.
// With 8 bits the row is the vector itself on a grid of its own; centroid and level do not matter.
//
// gingham/kernels/reference_codec.py is the same in NumPy: equal to the byte.
#pragma once

#include <cstddef>
#include <cstdint>

#include "maxsim.h"

namespace gingham {

constexpr std::size_t kCodeBytes = 3;
constexpr std::uint32_t kMaxCentroids = 1u << 20;
constexpr std::size_t kLevels = 16, kPoints = 16;
constexpr int kFiner = 16;  // residuals are measured on a grid finer than that of int8
constexpr std::size_t kMaxRow = 4096;  // dimensions that a codec may have, padding included

struct Residuals {
    std::size_t dim;     // of rows: that of the vectors, padded to whole 16-byte groups of residuals
    std::size_t source;  // of the vectors
    std::size_t bits;    // 1, 2, 4 or 8
    float scale;         // component * scale = int8
    const std::int8_t* centroids;  // (n_centroids, dim)
    std::size_t n_centroids;
    const std::int8_t* points;   // (16 levels, 4 / bits, 16): what a nibble adds
    const std::int64_t* levels;  // (15) ascending squared lengths between levels, on the finer grid

    std::size_t row_bytes() const { return dim * bits / 8; }
};

// Where a code points. Codes may come from a damaged file: never beyond the centroids.
inline std::uint32_t centroid_of(const std::uint8_t* code, std::size_t n_centroids) {
    const std::uint32_t number = code[0] | code[1] << 8 | (code[2] & 0xfu) << 16;
    return number < n_centroids ? number : static_cast<std::uint32_t>(n_centroids - 1);
}

// Vectors (n, source) onto the int8 grid: rows (n, dim), padded with zeros.
void quantize_rows(const float* values, std::size_t n, std::size_t source, std::size_t dim,
                   float scale, std::int8_t* rows, std::size_t threads);

// For each row the nearest centroid (L2) in the range `children[parent] .. children[parent + 1]`.
void nearest_child(const std::int8_t* rows, const std::uint32_t* parents, std::size_t n,
                   std::size_t dim, const std::int8_t* centroids, const std::int64_t* children,
                   std::size_t n_parents, std::uint32_t* nearest, std::size_t threads,
                   const InstructionSet& set);

// Lloyd's k-means of each group of rows on its own; the rows of a group stand together. Starts from
// rows spread evenly over the group, makes `iterations` rounds; a centroid that loses all its rows
// stays where it is. Whole numbers throughout, so the result is the same on any number of threads.
void kmeans(const std::int8_t* rows, const std::int64_t* groups, std::size_t n_groups,
            std::size_t dim, const std::int64_t* children, std::size_t iterations,
            std::int8_t* centroids, std::size_t threads, const InstructionSet& set);

// Codes (n, 3) and residuals (n, row_bytes) of vectors whose centroids are known.
void encode(const Residuals& codec, const float* values, const std::uint32_t* centroids,
            std::size_t n, std::uint8_t* codes, std::uint8_t* residuals, std::size_t threads,
            const InstructionSet& set);

// Rows (n, dim) and what each is to be multiplied by for unit length.
void decode(const Residuals& codec, const std::uint8_t* codes, const std::uint8_t* residuals,
            std::size_t n, std::int8_t* rows, float* scales, std::size_t threads,
            const InstructionSet& set);

}  // namespace gingham
