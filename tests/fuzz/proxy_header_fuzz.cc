// The first bytes of a connection that should begin with a PROXY header. Input: those bytes.
//
// Invariants for any bytes: a verdict is final (more bytes do not change it) and comes within the
// size limits; a header ends within them; the addresses of a complete header survive serialization
// in both versions.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "common/proxy_protocol/proxy_header.h"

namespace trunkline {
namespace {

using Bytes = std::span<const uint8_t>;

Bytes BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void CheckWritten(const ProxyAddresses& addresses) {
  EXPECT_EQ(addresses.source.known(), addresses.destination.known());
  EXPECT_EQ(addresses.source.family, addresses.destination.family);
  for (const ProxyVersion version : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    const std::string header = WriteProxyHeader(version, addresses);
    EXPECT_LE(header.size(), kMaxProxyLineBytes);
    const ProxyHeaderStep again = ReadProxyHeader(BytesOf(header));
    EXPECT_EQ(again.state, ProxyHeaderState::kWhole);
    EXPECT_EQ(again.size, header.size());
    EXPECT_EQ(again.addresses.source, addresses.source);
    EXPECT_EQ(again.addresses.destination, addresses.destination);
  }
}

void CheckCut(Bytes bytes, size_t size, const ProxyHeaderStep& whole) {
  if (size >= bytes.size()) return;
  const ProxyHeaderStep step = ReadProxyHeader(bytes.first(size));
  if (step.state == ProxyHeaderState::kMore) {
    EXPECT_TRUE(whole.state != ProxyHeaderState::kWhole || size < whole.size);
    return;
  }
  EXPECT_EQ(step.state, whole.state) << "verdict on the first " << size << " bytes";
  EXPECT_EQ(step.size, whole.size);
}

// Around the sizes at which a verdict can change.
void CheckGrowing(Bytes bytes, const ProxyHeaderStep& whole) {
  constexpr size_t kVersion2Head = 16;
  for (size_t size = 0; size <= kVersion2Head; ++size) CheckCut(bytes, size, whole);
  for (const size_t place : {bytes.size() / 2, bytes.size(), whole.size, kMaxProxyLineBytes}) {
    for (size_t size = std::max<size_t>(place, 2) - 2; size <= place + 1; ++size) {
      CheckCut(bytes, size, whole);
    }
  }
}

}  // namespace
}  // namespace trunkline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  const Bytes bytes(data, size);
  const ProxyHeaderStep step = ReadProxyHeader(bytes);
  CheckGrowing(bytes, step);
  switch (step.state) {
    case ProxyHeaderState::kMore:
      EXPECT_LT(size, kMaxProxyHeaderBytes);
      EXPECT_EQ(step.size, 0u);
      break;
    case ProxyHeaderState::kBroken:
      EXPECT_GT(size, 0u);
      EXPECT_EQ(step.size, 0u);
      break;
    case ProxyHeaderState::kWhole:
      EXPECT_LE(step.size, std::min(size, kMaxProxyHeaderBytes));
      CheckWritten(step.addresses);
      break;
  }
  return 0;
}
