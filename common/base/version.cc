#include "common/base/version.h"

namespace trunkline {

const char kVersion[] = TRUNKLINE_VERSION;

}  // namespace trunkline
