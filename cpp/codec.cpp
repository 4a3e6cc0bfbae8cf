// Around the bodies of the codec: grids, nearest centroids, k-means, and the sharing out to threads.
#include "codec.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "packed.h"
#include "parallel.h"

namespace gingham {
namespace {

constexpr std::size_t kRowsAtOnce = 24;   // two tiles of the widest body; their sums stay in cache
constexpr std::size_t kChunk = 1 << 12;   // rows that a thread takes at a time

// argmin |x - c|^2 = argmax x . c - |c|^2 / 2, the half rounded down.
std::vector<std::int32_t> half_squares(const std::int8_t* centroids, std::size_t n,
                                       std::size_t dim) {
    std::vector<std::int32_t> start(n);
    for (std::size_t i = 0; i < n; ++i) {
        std::int32_t squares = 0;
        for (std::size_t k = 0; k < dim; ++k)
            squares += std::int32_t{centroids[i * dim + k]} * centroids[i * dim + k];
        start[i] = -(squares / 2);
    }
    return start;
}

// The nearest of one set of centroids, for rows that stand together.
class Nearest {
public:
    Nearest(const InstructionSet& set, const std::int8_t* centroids, std::size_t n, std::size_t dim)
        : set_(set), n_(n), dim_(dim),
          packed_(set, centroids, n, dim, half_squares(centroids, n, dim).data()),
          sums_(kRowsAtOnce * packed_.width()), scratch_(set.tile * scratch_stride(dim)) {}

    void of(const std::int8_t* rows, std::size_t n_rows, std::uint32_t* nearest) {
        for (std::size_t from = 0; from < n_rows; from += kRowsAtOnce) {
            const std::size_t count = std::min(kRowsAtOnce, n_rows - from);
            products(set_, packed_, rows + from * dim_, count, dim_, scratch_.data(), sums_.data());
            for (std::size_t i = 0; i < count; ++i)
                nearest[from + i] = static_cast<std::uint32_t>(
                    set_.largest(sums_.data() + i * packed_.width(), n_));
        }
    }

private:
    const InstructionSet& set_;
    std::size_t n_, dim_;
    PackedInt8 packed_;
    AlignedArray<std::int32_t> sums_;
    AlignedArray<float> scratch_;
};

std::size_t workers_for(std::size_t n_items, std::size_t chunk, std::size_t threads) {
    return std::max<std::size_t>(1, std::min(threads, (n_items + chunk - 1) / chunk));
}

void kmeans_of(const std::int8_t* rows, std::size_t n, std::size_t dim, std::size_t k,
               std::size_t iterations, std::int8_t* centroids, std::size_t threads,
               const InstructionSet& set) {
    for (std::size_t i = 0; i < k; ++i)
        std::copy_n(rows + i * n / k * dim, dim, centroids + i * dim);
    if (k == n) return;
    std::vector<std::uint32_t> nearest(n);
    std::vector<std::int64_t> sums(k * dim), counts(k);
    for (std::size_t round = 0; round < iterations; ++round) {
        parallel_chunks(n, kChunk, workers_for(n, kChunk, threads),
                        [&](std::size_t, std::size_t begin, std::size_t end) {
            Nearest(set, centroids, k, dim).of(rows + begin * dim, end - begin, &nearest[begin]);
        });
        std::fill(sums.begin(), sums.end(), 0);
        std::fill(counts.begin(), counts.end(), 0);
        for (std::size_t i = 0; i < n; ++i) {
            ++counts[nearest[i]];
            std::int64_t* sum = sums.data() + nearest[i] * dim;
            for (std::size_t d = 0; d < dim; ++d) sum[d] += rows[i * dim + d];
        }
        for (std::size_t i = 0; i < k; ++i) {
            if (counts[i] == 0) continue;
            for (std::size_t d = 0; d < dim; ++d)
                centroids[i * dim + d] = static_cast<std::int8_t>(std::nearbyint(
                    static_cast<double>(sums[i * dim + d]) / static_cast<double>(counts[i])));
        }
    }
}

}  // namespace

void quantize_rows(const float* values, std::size_t n, std::size_t source, std::size_t dim,
                   float scale, std::int8_t* rows, std::size_t threads) {
    parallel_chunks(n, kChunk, workers_for(n, kChunk, threads),
                    [&](std::size_t, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const float* value = values + i * source;
            std::int8_t* row = rows + i * dim;
            for (std::size_t k = 0; k < source; ++k) {
                float at = value[k] * scale;
                at = at > 127.0f ? 127.0f : at;
                at = at < -127.0f ? -127.0f : at;
                row[k] = static_cast<std::int8_t>((at + 12582912.0f) - 12582912.0f);  // half to even
            }
            for (std::size_t k = source; k < dim; ++k) row[k] = 0;
        }
    });
}

void nearest_child(const std::int8_t* rows, const std::uint32_t* parents, std::size_t n,
                   std::size_t dim, const std::int8_t* centroids, const std::int64_t* children,
                   std::size_t n_parents, std::uint32_t* nearest, std::size_t threads,
                   const InstructionSet& set) {
    // Rows sorted by parent, so that the children of each are packed once.
    std::vector<std::size_t> starts(n_parents + 1);
    for (std::size_t i = 0; i < n; ++i) ++starts[parents[i] + 1];
    for (std::size_t p = 0; p < n_parents; ++p) starts[p + 1] += starts[p];
    std::vector<std::size_t> order(n), next(starts.begin(), starts.end() - 1);
    for (std::size_t i = 0; i < n; ++i) order[next[parents[i]]++] = i;

    parallel_chunks(n_parents, 1, workers_for(n_parents, 1, threads),
                    [&](std::size_t, std::size_t parent, std::size_t) {
        const std::size_t count = starts[parent + 1] - starts[parent];
        if (count == 0) return;
        const auto first = static_cast<std::size_t>(children[parent]);
        const auto n_children = static_cast<std::size_t>(children[parent + 1]) - first;
        Nearest search(set, centroids + first * dim, n_children, dim);
        std::vector<std::int8_t> gathered(std::min(count, kChunk) * dim);
        std::vector<std::uint32_t> found(std::min(count, kChunk));
        for (std::size_t from = 0; from < count; from += kChunk) {
            const std::size_t* wanted = order.data() + starts[parent] + from;
            const std::size_t size = std::min(kChunk, count - from);
            for (std::size_t i = 0; i < size; ++i)
                std::copy_n(rows + wanted[i] * dim, dim, gathered.data() + i * dim);
            search.of(gathered.data(), size, found.data());
            for (std::size_t i = 0; i < size; ++i)
                nearest[wanted[i]] = static_cast<std::uint32_t>(first) + found[i];
        }
    });
}

void kmeans(const std::int8_t* rows, const std::int64_t* groups, std::size_t n_groups,
            std::size_t dim, const std::int64_t* children, std::size_t iterations,
            std::int8_t* centroids, std::size_t threads, const InstructionSet& set) {
    // Few groups share their rows out to threads, many are shared out themselves.
    const std::size_t inside = n_groups == 1 ? threads : 1;
    parallel_chunks(n_groups, 1, n_groups == 1 ? 1 : workers_for(n_groups, 1, threads),
                    [&](std::size_t, std::size_t group, std::size_t) {
        const auto first = static_cast<std::size_t>(groups[group]);
        const auto child = static_cast<std::size_t>(children[group]);
        kmeans_of(rows + first * dim, static_cast<std::size_t>(groups[group + 1]) - first, dim,
                  static_cast<std::size_t>(children[group + 1]) - child, iterations,
                  centroids + child * dim, inside, set);
    });
}

void encode(const Residuals& codec, const float* values, const std::uint32_t* centroids,
            std::size_t n, std::uint8_t* codes, std::uint8_t* residuals, std::size_t threads,
            const InstructionSet& set) {
    parallel_chunks(n, kChunk, workers_for(n, kChunk, threads),
                    [&](std::size_t, std::size_t begin, std::size_t end) {
        set.encode(codec, values + begin * codec.source, centroids + begin, end - begin,
                   codes + begin * kCodeBytes, residuals + begin * codec.row_bytes());
    });
}

void decode(const Residuals& codec, const std::uint8_t* codes, const std::uint8_t* residuals,
            std::size_t n, std::int8_t* rows, float* scales, std::size_t threads,
            const InstructionSet& set) {
    parallel_chunks(n, kChunk, workers_for(n, kChunk, threads),
                    [&](std::size_t, std::size_t begin, std::size_t end) {
        set.decode(codec, codes + begin * kCodeBytes, residuals + begin * codec.row_bytes(),
                   nullptr, end - begin, rows + begin * codec.dim, scales + begin);
    });
}

}  // namespace gingham
