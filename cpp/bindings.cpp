// The only file that knows Python: typed arrays in, the GIL released, nothing computed here.
#include "bindings.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "maxsim.h"

namespace nb = nanobind;
using namespace nb::literals;
using gingham::Array;

namespace {

using Selection = std::optional<Array<const std::int64_t, 1>>;

void score(const Array<const float, 2>& query, gingham::Type type, const void* values,
           const float* scales, std::size_t n_tokens, std::size_t dim,
           const Array<const std::int64_t, 1>& offsets, const Selection& selection,
           const Array<float, 1>& scores, std::size_t threads, const std::string& instructions) {
    if (query.shape(1) != dim) throw std::invalid_argument("query and documents differ in dimension");
    if (offsets.shape(0) == 0) throw std::invalid_argument("offsets must hold at least one number");
    const std::size_t n_documents = offsets.shape(0) - 1;
    const std::size_t n_selected = selection ? selection->shape(0) : n_documents;
    if (scores.shape(0) != n_selected) throw std::invalid_argument("scores have the wrong length");
    const gingham::InstructionSet& set = gingham::instruction_set(instructions);
    const gingham::Query of{query.data(), query.shape(0), dim};
    const gingham::Documents documents{type,     values,         scales,
                                       n_tokens, offsets.data(), n_documents};
    const nb::gil_scoped_release released;
    gingham::maxsim(of, documents, selection ? selection->data() : nullptr, n_selected,
                    scores.data(), threads, set);
}

template <class T, gingham::Type type>
void score_values(const Array<const float, 2>& query, const Array<const T, 2>& values,
                  const Array<const std::int64_t, 1>& offsets, const Selection& selection,
                  const Array<float, 1>& scores, std::size_t threads,
                  const std::string& instructions) {
    score(query, type, values.data(), nullptr, values.shape(0), values.shape(1), offsets, selection,
          scores, threads, instructions);
}

void score_int8(const Array<const float, 2>& query, const Array<const std::int8_t, 2>& values,
                const Array<const float, 1>& scales, const Array<const std::int64_t, 1>& offsets,
                const Selection& selection, const Array<float, 1>& scores, std::size_t threads,
                const std::string& instructions) {
    if (scales.shape(0) != values.shape(0)) throw std::invalid_argument("scales: one a token");
    score(query, gingham::Type::int8, values.data(), scales.data(), values.shape(0),
          values.shape(1), offsets, selection, scores, threads, instructions);
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const gingham::InstructionSet* set : gingham::instruction_sets())
        names.emplace_back(set->name);
    return names;
}

}  // namespace

NB_MODULE(_native, module) {
    module.doc() = "The compiled kernels; gingham.kernels is their face.";
    module.def("instruction_sets", &instruction_sets,
               "Those that this machine runs, the best first.");
    module.def("maxsim_float32", &score_values<float, gingham::Type::float32>,
               "query"_a.noconvert(), "values"_a.noconvert(), "offsets"_a.noconvert(),
               "selection"_a.noconvert().none(), "scores"_a.noconvert(), "threads"_a,
               "instructions"_a, "MaxSim of each selected document into `scores`.");
    module.def("maxsim_float16", &score_values<std::uint16_t, gingham::Type::float16>,
               "query"_a.noconvert(), "values"_a.noconvert(), "offsets"_a.noconvert(),
               "selection"_a.noconvert().none(), "scores"_a.noconvert(), "threads"_a,
               "instructions"_a, "The same over half floats, viewed as uint16.");
    module.def("maxsim_int8", &score_int8, "query"_a.noconvert(), "values"_a.noconvert(),
               "scales"_a.noconvert(), "offsets"_a.noconvert(), "selection"_a.noconvert().none(),
               "scores"_a.noconvert(), "threads"_a, "instructions"_a,
               "The same over int8 values with a scale a token.");
    gingham::bind_codec(module);
}
