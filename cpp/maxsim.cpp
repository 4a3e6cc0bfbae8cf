// MaxSim around the inner bodies: checks, packs the query, shares documents out to threads, sums.
// Baseline instructions only; what depends on the machine is behind InstructionSet.
#include "maxsim.h"

#include <limits>
#include <stdexcept>

#include "packed.h"
#include "parallel.h"

namespace gingham {
namespace {

// Multiply-adds that are worth a thread of their own: some 0.1 to 0.5 ms, many times its start.
constexpr std::size_t kWorkOfThread = std::size_t{1} << 24;
// int32 sums stay exact up to here: 255 * 127 * 2^16 < 2^31.
constexpr std::size_t kMaxDim = std::size_t{1} << 16;

struct Range {
    std::size_t begin, end;  // rows of one document
};

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
    const PackedInt8 values(set, quantized.codes.data(), query.n_vectors, query.dim);
    return run({set.int8, values.values(), values.bias(), quantized.scales.data()});
}

}  // namespace gingham
