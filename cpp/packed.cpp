#include "packed.h"

namespace gingham {

QuantizedQuery quantize(const Query& query) {
    QuantizedQuery result{std::vector<float>(query.n_vectors),
                          std::vector<std::int8_t>(query.n_vectors * query.dim)};
    for (std::size_t i = 0; i < query.n_vectors; ++i) {
        const float* vector = query.values + i * query.dim;
        const float scale = largest_magnitude(vector, query.dim) / 127.0f;
        result.scales[i] = scale;
        if (scale == 0) continue;
        for (std::size_t k = 0; k < query.dim; ++k) {
            const float code = to_nearest(vector[k] / scale);
            result.codes[i * query.dim + k] =
                static_cast<std::int8_t>(code > 127 ? 127 : code >= -127 ? code : -127);
        }
    }
    return result;
}

namespace {

// The offset that makes documents unsigned adds offset * sum(codes) to every product: start there.
AlignedArray<std::int32_t> biases(const InstructionSet& set, const std::int8_t* codes,
                                  std::size_t n_vectors, std::size_t dim, std::size_t registers,
                                  const std::int32_t* start) {
    AlignedArray<std::int32_t> bias(registers * set.lanes);
    for (std::size_t i = 0; i < n_vectors; ++i) {
        std::int32_t sum = 0;
        for (std::size_t k = 0; k < dim; ++k) sum += codes[i * dim + k];
        bias[i] = (start ? start[i] : 0) - set.int8_offset * sum;
    }
    return bias;
}

// As int8 or as int16, whichever the body takes; the memory is the same either way.
AlignedArray<std::int8_t> packed_codes(const InstructionSet& set, const std::int8_t* codes,
                                       std::size_t n_vectors, std::size_t dim,
                                       std::size_t registers) {
    const auto bytes_of = [&]<class Packed>(Packed) {
        AlignedArray<Packed> packed =
            pack<Packed>(set, codes, n_vectors, dim, registers, set.int8_step);
        const std::size_t n_steps = (dim + set.int8_step - 1) / set.int8_step;
        const std::size_t size = registers * set.lanes * n_steps * set.int8_step * sizeof(Packed);
        AlignedArray<std::int8_t> bytes(size);
        std::copy_n(reinterpret_cast<const std::int8_t*>(packed.data()), size, bytes.data());
        return bytes;
    };
    return set.int8_step == 4 ? bytes_of(std::int8_t{}) : bytes_of(std::int16_t{});
}

}  // namespace

PackedInt8::PackedInt8(const InstructionSet& set, const std::int8_t* codes, std::size_t n_vectors,
                       std::size_t dim, const std::int32_t* start)
    : registers_((n_vectors + set.lanes - 1) / set.lanes),
      lanes_(set.lanes),
      bias_(biases(set, codes, n_vectors, dim, registers_, start)),
      values_(packed_codes(set, codes, n_vectors, dim, registers_)) {}

namespace {

QuantizedQuery padded(const Query& query, std::size_t dim) {
    QuantizedQuery narrow = quantize(query);
    if (dim == query.dim) return narrow;
    std::vector<std::int8_t> codes(query.n_vectors * dim);
    for (std::size_t i = 0; i < query.n_vectors; ++i)
        std::copy_n(narrow.codes.data() + i * query.dim, query.dim, codes.data() + i * dim);
    return {std::move(narrow.scales), std::move(codes)};
}

}  // namespace

PackedQuery::PackedQuery(const Query& query, std::size_t dim_, const InstructionSet& set)
    : quantized(padded(query, dim_)),
      packed(set, quantized.codes.data(), query.n_vectors, dim_),
      n_vectors(query.n_vectors),
      dim(dim_) {}

void products(const InstructionSet& set, const PackedInt8& packed, const std::int8_t* rows,
              std::size_t n_rows, std::size_t dim, void* scratch, std::int32_t* sums) {
    Work work{};
    work.query = packed.values();
    work.bias = packed.bias();
    work.registers = packed.registers();
    work.dim = dim;
    work.values = rows;
    work.n_tokens = n_rows;
    work.next = rows;
    work.scratch = scratch;
    work.sums = sums;
    set.products(work);
}

}  // namespace gingham
