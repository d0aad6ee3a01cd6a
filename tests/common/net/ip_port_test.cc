#include "common/net/ip_port.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "common/net/address.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

IpPort Resolved(const Address& address) {
  const SocketAddress where = ResolveAddress(address).value();
  return IpPortOf(reinterpret_cast<const sockaddr*>(&where.storage));
}

TEST(IpPortTest, WhatIsWrittenIsReadBack) {
  for (const std::string text :
       {"192.0.2.1:0", "0.0.0.0:65535", "[::]:1", "[2001:db8::1]:443", "[::ffff:192.0.2.1]:80"}) {
    const std::optional<IpPort> read = ParseIpPort(text);
    ASSERT_TRUE(read.has_value()) << text;
    EXPECT_EQ(read->ToString(), text);
  }
}

TEST(IpPortTest, TextThatIsNoAddressIsRefused) {
  for (const std::string text : {"", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:01",
                                 " 1.2.3.4:1", "1.2.3.4:1 ", "1.2.3:1", "localhost:1", "::1:1",
                                 "[::1]", "[::1]:", "[::1:1", "[1.2.3.4]:1", "[]:1", "unix:/x"}) {
    EXPECT_FALSE(ParseIpPort(text).has_value()) << text;
  }
}

TEST(IpPortTest, SocketAddressesKeepAddressAndPort) {
  EXPECT_EQ(Resolved({.host = "192.0.2.1", .port = 80}).ToString(), "192.0.2.1:80");
  EXPECT_EQ(Resolved({.host = "2001:db8::1", .port = 80}).ToString(), "[2001:db8::1]:80");
}

TEST(IpPortTest, MappedIpv4ClientOfADualStackListenerIsIpv4) {
  EXPECT_EQ(Resolved({.host = "::ffff:192.0.2.1", .port = 80}).ToString(), "192.0.2.1:80");
}

TEST(IpPortTest, UnixSocketHasNoIpAddress) {
  const IpPort none = Resolved({.unix_path = "/tmp/x"});
  EXPECT_FALSE(none.known());
  EXPECT_EQ(none.ToString(), "");
}

TEST(IpPortTest, MappedAddressSurvivesARoundTrip) {
  const IpPort ipv4 = ParseIpPort("192.0.2.1:80").value();
  EXPECT_EQ(ipv4.Mapped().ToString(), "[::ffff:192.0.2.1]:80");
  EXPECT_EQ(ipv4.Mapped().Unmapped(), ipv4);
  const IpPort ipv6 = ParseIpPort("[2001:db8::1]:80").value();
  EXPECT_EQ(ipv6.Unmapped(), ipv6);
  EXPECT_EQ(ipv6.Mapped(), ipv6);
}

}  // namespace
}  // namespace trunkline
