// MaxSim around the inner bodies: checks, packs the query, shares documents out to threads, sums.
// Baseline instructions only; what depends on the machine is behind InstructionSet.
#include "maxsim.h"

#include <cmath>
#include <limits>
#include <new>
#include <stdexcept>

#include "parallel.h"

namespace gingham {
namespace {

// Multiply-adds that are worth a thread of their own: some 0.1 to 0.5 ms, many times its start.
constexpr std::size_t kWorkOfThread = std::size_t{1} << 24;
// int32 sums stay exact up to here: 255 * 127 * 2^16 < 2^31.
constexpr std::size_t kMaxDim = std::size_t{1} << 16;
constexpr std::size_t kAlignment = 64;

struct Range {
    std::size_t begin, end;  // rows of one document
};

template <class T>
class AlignedArray {
public:
    explicit AlignedArray(std::size_t size) {
        data_ = static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{kAlignment}));
        for (std::size_t i = 0; i < size; ++i) data_[i] = T{};
    }
    AlignedArray(AlignedArray&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    AlignedArray& operator=(AlignedArray&&) = delete;
    ~AlignedArray() { ::operator delete(data_, std::align_val_t{kAlignment}); }
    T* data() { return data_; }
    T& operator[](std::size_t i) { return data_[i]; }

private:
    T* data_;
};

// Where a query vector lies in a packed query: value k at
// start + k / step * stride + k % step. Vectors are grouped in blocks of `rows` registers; a block
// holds, for each step of `step` dimensions, its registers one after the other, so that one pass
// over the block is one sequential read.
struct Place {
    std::size_t start, stride;
};

Place place(const InstructionSet& set, std::size_t registers, std::size_t n_steps,
            std::size_t step, std::size_t vector) {
    const std::size_t own = vector / set.lanes;           // the vector's register
    const std::size_t first = own / set.rows * set.rows;  // the first of its block
    const std::size_t rows = std::min(set.rows, registers - first);
    const std::size_t lane = vector % set.lanes;
    return {((first * n_steps + own - first) * set.lanes + lane) * step, rows * set.lanes * step};
}

template <class Packed, class T>
AlignedArray<Packed> pack(const InstructionSet& set, const T* values, std::size_t n_vectors,
                          std::size_t dim, std::size_t registers, std::size_t step) {
    const std::size_t n_steps = (dim + step - 1) / step;
    AlignedArray<Packed> packed(registers * set.lanes * n_steps * step);
    for (std::size_t i = 0; i < n_vectors; ++i) {
        const Place at = place(set, registers, n_steps, step, i);
        const T* vector = values + i * dim;
        for (std::size_t k = 0; k < dim; k += step)
            for (std::size_t rest = 0; rest < std::min(step, dim - k); ++rest)
                packed[at.start + k / step * at.stride + rest] = vector[k + rest];
    }
    return packed;
}

// A query vector is scale * codes with scale = max |q| / 127 and codes = rint(q / scale).
struct QuantizedQuery {
    std::vector<float> scales;
    std::vector<std::int8_t> codes;
};

QuantizedQuery quantize(const Query& query) {
    QuantizedQuery result{std::vector<float>(query.n_vectors),
                          std::vector<std::int8_t>(query.n_vectors * query.dim)};
    for (std::size_t i = 0; i < query.n_vectors; ++i) {
        const float* vector = query.values + i * query.dim;
        float largest = 0;
        for (std::size_t k = 0; k < query.dim; ++k)
            largest = std::max(largest, std::fabs(vector[k]));
        const float scale = largest / 127.0f;
        result.scales[i] = scale;
        if (scale == 0) continue;
        for (std::size_t k = 0; k < query.dim; ++k) {
            const float code = std::nearbyintf(vector[k] / scale);  // half to even
            result.codes[i * query.dim + k] =
                static_cast<std::int8_t>(code > 127 ? 127 : code >= -127 ? code : -127);
        }
    }
    return result;
}

// The offset that makes documents unsigned adds offset * sum(codes) to every product: start there.
AlignedArray<std::int32_t> biases(const InstructionSet& set, const Query& query,
                                  const QuantizedQuery& quantized, std::size_t registers) {
    AlignedArray<std::int32_t> bias(registers * set.lanes);
    for (std::size_t i = 0; i < query.n_vectors; ++i) {
        for (std::size_t k = 0; k < query.dim; ++k)
            bias[i] -= set.int8_offset * quantized.codes[i * query.dim + k];
    }
    return bias;
}

std::vector<Range> checked_ranges(const Documents& documents, const std::int64_t* selection,
                                  std::size_t n_selected) {
    const auto n_documents = static_cast<std::int64_t>(documents.n_documents);
    const auto n_tokens = static_cast<std::int64_t>(documents.n_tokens);
    std::vector<Range> ranges(n_selected);
    for (std::size_t i = 0; i < n_selected; ++i) {
        const std::int64_t number = selection ? selection[i] : static_cast<std::int64_t>(i);
        if (number < 0 || number >= n_documents)
            throw std::invalid_argument("selection holds document " + std::to_string(number) +
                                        "; there are " + std::to_string(n_documents));
        const std::int64_t begin = documents.offsets[number], end = documents.offsets[number + 1];
        if (begin < 0 || begin > end || end > n_tokens)
            throw std::invalid_argument("offsets give document " + std::to_string(number) +
                                        " the rows " + std::to_string(begin) + ":" +
                                        std::to_string(end) + " of " + std::to_string(n_tokens));
        ranges[i] = {static_cast<std::size_t>(begin), static_cast<std::size_t>(end)};
    }
    return ranges;
}

std::size_t bytes_of(Type type) {
    return type == Type::float32 ? 4 : type == Type::float16 ? 2 : 1;
}

// Everything about the query that the bodies need, ready for one instruction set.
struct Prepared {
    Body body;
    const void* packed;
    const std::int32_t* bias;
    const float* scales;  // of the query vectors; null where similarities need none
};

void score_all(const Prepared& prepared, const Query& query, const Documents& documents,
               const std::vector<Range>& ranges, float* scores, std::size_t threads,
               const InstructionSet& set, std::size_t registers) {
    std::size_t n_rows = 0;
    for (const Range& range : ranges) n_rows += range.end - range.begin;
    const std::size_t work = n_rows * registers * set.lanes * query.dim;
    const std::size_t workers = std::max<std::size_t>(
        1, std::min({threads, ranges.size(), work / kWorkOfThread + 1}));
    // Small enough chunks that the last one does not keep the others waiting.
    const std::size_t chunk =
        workers == 1 ? ranges.size() : std::max<std::size_t>(1, ranges.size() / (workers * 32));

    const std::size_t n_best = (registers * set.lanes + 15) / 16 * 16;
    const std::size_t n_scratch = set.tile * scratch_stride(query.dim);
    AlignedArray<float> buffers(workers * (n_best + n_scratch));
    const char* values = static_cast<const char*>(documents.values);
    const std::size_t row_bytes = query.dim * bytes_of(documents.type);

    parallel_chunks(ranges.size(), std::max<std::size_t>(1, chunk), workers,
                    [&](std::size_t worker, std::size_t begin, std::size_t end) {
        float* best = buffers.data() + worker * (n_best + n_scratch);
        for (std::size_t i = begin; i < end; ++i) {
            const Range range = ranges[i];
            for (std::size_t j = 0; j < n_best; ++j)
                best[j] = -std::numeric_limits<float>::infinity();
            Work task{};
            task.query = prepared.packed;
            task.bias = prepared.bias;
            task.registers = registers;
            task.dim = query.dim;
            task.values = values + range.begin * row_bytes;
            task.scales = documents.scales ? documents.scales + range.begin : nullptr;
            task.n_tokens = range.end - range.begin;
            task.next = values + ranges[std::min(i + 1, end - 1)].begin * row_bytes;
            task.scratch = best + n_best;
            task.best = best;
            prepared.body(task);
            float score = 0;
            for (std::size_t j = 0; j < query.n_vectors; ++j)
                score += prepared.scales ? prepared.scales[j] * best[j] : best[j];
            scores[i] = range.begin == range.end ? -std::numeric_limits<float>::infinity() : score;
        }
    });
}

}  // namespace

void maxsim(const Query& query, const Documents& documents, const std::int64_t* selection,
            std::size_t n_selected, float* scores, std::size_t threads, const InstructionSet& set) {
    if (query.dim == 0 || query.dim > kMaxDim)
        throw std::invalid_argument("vectors have " + std::to_string(query.dim) +
                                    " dimensions; from 1 to " + std::to_string(kMaxDim) +
                                    " are supported");
    const std::vector<Range> ranges = checked_ranges(documents, selection, n_selected);
    if (query.n_vectors == 0) {
        for (std::size_t i = 0; i < n_selected; ++i) scores[i] = 0;
        return;
    }
    const std::size_t registers = (query.n_vectors + set.lanes - 1) / set.lanes;
    const auto run = [&](const Prepared& prepared) {
        score_all(prepared, query, documents, ranges, scores, threads, set, registers);
    };
    const auto packed = [&]<class Packed>(Packed, const auto* values, std::size_t step) {
        return pack<Packed>(set, values, query.n_vectors, query.dim, registers, step);
    };
    if (documents.type != Type::int8) {
        const Body body = documents.type == Type::float32 ? set.float32 : set.float16;
        auto values = packed(float{}, query.values, 1);
        AlignedArray<std::int32_t> zeros(registers * set.lanes);
        return run({body, values.data(), zeros.data(), nullptr});
    }
    const QuantizedQuery quantized = quantize(query);
    auto bias = biases(set, query, quantized, registers);
    const std::int8_t* codes = quantized.codes.data();
    if (set.int8_step == 4) {
        auto values = packed(std::int8_t{}, codes, 4);
        return run({set.int8, values.data(), bias.data(), quantized.scales.data()});
    }
    auto values = packed(std::int16_t{}, codes, set.int8_step);
    return run({set.int8, values.data(), bias.data(), quantized.scales.data()});
}

}  // namespace gingham
