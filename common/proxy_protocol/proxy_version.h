// The versions of the PROXY protocol; see proxy_header.h. Pure.
#pragma once

#include <cstdint>

namespace trunkline {

enum class ProxyVersion : uint8_t { kNone, kV1, kV2 };

}  // namespace trunkline
