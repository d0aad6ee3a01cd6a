#include "common/net/address_list.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/net/socket.h"

namespace trunkline {
namespace {

SocketAddress At(const std::string& host) {
  return ResolveAddress({.host = host, .port = 80}).value();
}

AddressList List(const std::vector<std::string>& hosts) {
  std::vector<SocketAddress> addresses;
  for (const std::string& host : hosts) addresses.push_back(At(host));
  return std::make_shared<const std::vector<SocketAddress>>(std::move(addresses));
}

std::string Current(const AddressRotation& rotation) { return rotation.current().ToString(); }

TEST(AddressListTest, OrderDoesNotMatter) {
  EXPECT_TRUE(SameAddresses(List({"10.0.0.1", "::1"}), List({"::1", "10.0.0.1"})));
  EXPECT_FALSE(SameAddresses(List({"10.0.0.1"}), List({"10.0.0.2"})));
  EXPECT_FALSE(SameAddresses(List({"10.0.0.1"}), List({"10.0.0.1", "::1"})));
  EXPECT_FALSE(SameAddresses(List({"10.0.0.1"}), nullptr));
  EXPECT_TRUE(SameAddresses(nullptr, nullptr));
}

TEST(AddressRotationTest, FailedConnectMovesToTheNextAddressAndAround) {
  AddressRotation rotation;
  EXPECT_TRUE(rotation.empty());
  rotation.Set(List({"10.0.0.1", "10.0.0.2"}));
  EXPECT_EQ(Current(rotation), "10.0.0.1:80");
  rotation.OnFailed(rotation.turn());
  EXPECT_EQ(Current(rotation), "10.0.0.2:80");
  rotation.OnFailed(rotation.turn());
  EXPECT_EQ(Current(rotation), "10.0.0.1:80");
}

TEST(AddressRotationTest, ConnectsDialedTogetherSkipNoAddress) {
  AddressRotation rotation;
  rotation.Set(List({"10.0.0.1", "10.0.0.2", "10.0.0.3"}));
  const uint32_t turn = rotation.turn();
  rotation.OnFailed(turn);
  rotation.OnFailed(turn);
  EXPECT_EQ(Current(rotation), "10.0.0.2:80");
}

TEST(AddressRotationTest, WorkingAddressIsKeptInANewList) {
  AddressRotation rotation;
  rotation.Set(List({"10.0.0.1", "10.0.0.2"}));
  const uint32_t old_turn = rotation.turn();
  rotation.OnFailed(old_turn);
  rotation.Set(List({"10.0.0.9", "10.0.0.8", "10.0.0.2"}));
  EXPECT_EQ(Current(rotation), "10.0.0.2:80");
  rotation.OnFailed(old_turn);
  EXPECT_EQ(Current(rotation), "10.0.0.2:80") << "that dial was of the former list";
}

TEST(AddressRotationTest, ListWithoutTheCurrentAddressStartsAtItsFirst) {
  AddressRotation rotation;
  rotation.Set(List({"10.0.0.1", "10.0.0.2"}));
  rotation.OnFailed(rotation.turn());
  rotation.Set(List({"10.0.0.7", "10.0.0.8"}));
  EXPECT_EQ(Current(rotation), "10.0.0.7:80");
}

}  // namespace
}  // namespace trunkline
