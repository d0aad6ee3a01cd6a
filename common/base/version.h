// The version of this build, as programs print and report it.
#pragma once

namespace trunkline {

extern const char kVersion[];

}  // namespace trunkline
