// The query in fewer vectors. Whole numbers, so that every machine joins the same ones.
#include <algorithm>
#include <cmath>
#include <limits>

#include "search.h"

namespace gingham {
namespace {

// Vectors that are joined two by two. Products of sums are sums of products, so the vectors
// themselves are added up only once the joining is over.
class Joining {
public:
    // `codes` (n, dim), of magnitudes far below 2^12: 128 of their products stay below 2^31.
    Joining(const std::vector<std::int16_t>& codes, std::size_t n, std::size_t dim)
        : products_(n * n), costs_(n * n), inverses_(n), weights_(n, 1), owners_(n), nearest_(n),
          n_(n) {
        for (std::size_t i = 0; i < n; ++i) {
            owners_[i] = i;
            for (std::size_t j = i; j < n; ++j)
                products_[i * n + j] = products_[j * n + i] =
                    product(codes.data() + i * dim, codes.data() + j * dim, dim);
            invert(i);
        }
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = i + 1; j < n; ++j) costs_[i * n + j] = cost(i, j);
        for (std::size_t i = 0; i < n; ++i) seek(i);
    }

    // Joins the two most alike, the first pair of equals, into the first of them.
    void join() {
        std::size_t a = n_;
        for (std::size_t i = 0; i < n_; ++i)
            if (is_left(i) && nearest_[i] < n_ && (a == n_ || least(i) < least(a))) a = i;
        const std::size_t b = nearest_[a];
        for (std::size_t j = 0; j < n_; ++j)
            if (j != a && j != b)
                products_[a * n_ + j] = products_[j * n_ + a] += products_[b * n_ + j];
        products_[a * n_ + a] += 2 * products_[a * n_ + b] + products_[b * n_ + b];
        weights_[a] += weights_[b];
        for (std::size_t& owner : owners_) owner = owner == b ? a : owner;
        invert(a);
        for (std::size_t i = 0; i < a; ++i) costs_[i * n_ + a] = cost(i, a);
        for (std::size_t i = a + 1; i < n_; ++i) costs_[a * n_ + i] = cost(a, i);
        for (std::size_t i = 0; i < n_; ++i) {
            if (!is_left(i)) continue;
            if (i < a && nearest_[i] != a && nearest_[i] != b) {
                if (costs_[i * n_ + a] < least(i) ||
                    (costs_[i * n_ + a] == least(i) && a < nearest_[i]))
                    nearest_[i] = a;
            } else if (i <= a || nearest_[i] == b) {
                seek(i);
            }
        }
    }

    // For each vector the first of those that it was joined with.
    const std::vector<std::size_t>& owners() const { return owners_; }

private:
    static std::int64_t product(const std::int16_t* a, const std::int16_t* b, std::size_t dim) {
        std::int64_t sum = 0;
        for (std::size_t k = 0; k < dim; k += 128) {
            std::int32_t part = 0;
            const std::size_t last = std::min(dim, k + 128);
            for (std::size_t d = k; d < last; ++d) part += std::int32_t{a[d]} * b[d];
            sum += part;
        }
        return sum;
    }
    bool is_left(std::size_t i) const { return owners_[i] == i; }
    double least(std::size_t i) const { return costs_[i * n_ + nearest_[i]]; }
    void invert(std::size_t i) {
        const auto square = static_cast<double>(products_[i * n_ + i]);
        inverses_[i] = square > 0 ? 1 / std::sqrt(square) : 0;
    }
    double cost(std::size_t i, std::size_t j) const {
        if (inverses_[i] == 0 || inverses_[j] == 0) return 0;
        const auto cosine =
            static_cast<double>(products_[i * n_ + j]) * inverses_[i] * inverses_[j];
        return (1 - cosine) * std::min(weights_[i], weights_[j]);
    }
    void seek(std::size_t i) {
        nearest_[i] = n_;
        for (std::size_t j = i + 1; j < n_; ++j)
            if (is_left(j) && (nearest_[i] == n_ || costs_[i * n_ + j] < least(i))) nearest_[i] = j;
    }

    std::vector<std::int64_t> products_;  // (n, n)
    std::vector<double> costs_;           // (n, n), above the diagonal
    std::vector<double> inverses_;        // 1 / length; 0 of a zero vector
    std::vector<std::int32_t> weights_;   // vectors in a sum
    std::vector<std::size_t> owners_;
    std::vector<std::size_t> nearest_;  // of those after it that are left; n where there is none
    std::size_t n_;
};

}  // namespace

std::vector<float> pool(const Query& query) {
    constexpr std::size_t kTogether = 32, kLeft = 12;
    const std::size_t dim = query.dim;
    const float step = largest_magnitude(query.values, query.n_vectors * dim) / 127.0f;
    std::vector<float> pooled;
    for (std::size_t from = 0; from < query.n_vectors; from += kTogether) {
        const std::size_t n = std::min(kTogether, query.n_vectors - from);
        const float* vectors = query.values + from * dim;
        if (n <= kLeft || step == 0) {
            pooled.insert(pooled.end(), vectors, vectors + n * dim);
            continue;
        }
        std::vector<std::int16_t> codes(n * dim);
        for (std::size_t i = 0; i < n * dim; ++i)
            codes[i] = static_cast<std::int16_t>(to_nearest(vectors[i] / step));
        Joining joining(codes, n, dim);
        for (std::size_t left = n; left > kLeft; --left) joining.join();
        for (std::size_t i = 0; i < n; ++i) {
            const std::size_t owner = joining.owners()[i];
            if (owner == i) continue;
            for (std::size_t k = 0; k < dim; ++k)
                codes[owner * dim + k] =
                    static_cast<std::int16_t>(codes[owner * dim + k] + codes[i * dim + k]);
        }
        for (std::size_t i = 0; i < n; ++i)
            if (joining.owners()[i] == i)
                for (std::size_t k = 0; k < dim; ++k)
                    pooled.push_back(static_cast<float>(codes[i * dim + k]) * step);
    }
    return pooled;
}

}  // namespace gingham
