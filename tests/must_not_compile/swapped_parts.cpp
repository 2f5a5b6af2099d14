// SPDX-License-Identifier: MIT
// The state where the parameters should be, which has as many bytes.
// expect: State
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
inline constexpr fe::Training recipe{.optimizer = fe::Momentum{}};
using Learner = fe::Trainer<net, recipe>;
static_assert(Learner::parameter_bytes == Learner::state_bytes);
Learner::Parameters parameters;
Learner::State state;
Learner::Workspace workspace;
#ifdef FERRITE_VIOLATION
fe::TrainingSession session = Learner::bind(state, parameters, workspace);
#else
fe::TrainingSession session = Learner::bind(parameters, state, workspace);
#endif
