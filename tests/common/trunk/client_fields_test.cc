// The client's addresses as fields of its stream's CONNECT, and their cost on a trunk.
#include "common/trunk/client_fields.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/http2/header_list.h"
#include "common/net/ip_port.h"
#include "common/proxy_protocol/proxy_version.h"
#include "tests/common/http2/http2_pair.h"

namespace trunkline {
namespace {

using test::Http2Pair;

IpPort At(std::string_view text) { return ParseIpPort(text).value(); }

ClientDescription From(std::string_view client) {
  return {ProxyVersion::kV1, {At(client), At("198.51.100.1:443")}};
}

TEST(ClientFieldsTest, WrittenFieldsAreReadBack) {
  for (const ProxyVersion version : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    for (const std::string client : {"192.0.2.1:1", "[2001:db8::1]:65535"}) {
      const ClientDescription read =
          ReadClient(DescribeClient({version, {At(client), At("[2001:db8::2]:443")}}));
      EXPECT_EQ(read.version, version);
      EXPECT_EQ(read.addresses.source, At(client));
      EXPECT_EQ(read.addresses.destination, At("[2001:db8::2]:443"));
    }
  }
}

TEST(ClientFieldsTest, NoFieldsAreSentWithoutAProxyVersion) {
  const ConnectFields fields = DescribeClient({});
  EXPECT_EQ(fields.client, "");
  EXPECT_EQ(fields.proxy_protocol, "");
  EXPECT_EQ(ReadClient(fields).version, ProxyVersion::kNone);
}

TEST(ClientFieldsTest, ClientWithoutAKnownAddressHasAVersion) {
  const ClientDescription read = ReadClient(DescribeClient({ProxyVersion::kV2, {}}));
  EXPECT_EQ(read.version, ProxyVersion::kV2);
  EXPECT_FALSE(read.addresses.source.known());
}

TEST(ClientFieldsTest, MalformedFieldsAreIgnored) {
  const auto says_nothing = [](const std::string& client, const std::string& wish) {
    const ClientDescription read = ReadClient({.client = client, .proxy_protocol = wish});
    return read.version == ProxyVersion::kNone || !read.addresses.source.known();
  };
  const std::string client = "192.0.2.1:1";
  EXPECT_FALSE(says_nothing(client, "v1 198.51.100.1:443"));
  for (const std::string wish :
       {"", "v1", "v2", "v3 198.51.100.1:443", "198.51.100.1:443", " v1 198.51.100.1:443",
        "v1  198.51.100.1:443", "v1 198.51.100.1", "v1 198.51.100.1:443 "}) {
    EXPECT_TRUE(says_nothing(client, wish)) << wish;
  }
  for (const std::string wrong : {"", "192.0.2.1", "192.0.2.1:1, 192.0.2.2:2", "localhost:1"}) {
    EXPECT_TRUE(says_nothing(wrong, "v1 198.51.100.1:443")) << wrong;
  }
}

// Bytes of the trunk that `count` streams take to open, after a first one.
size_t OpeningBytes(size_t count, bool with_addresses) {
  Http2Pair pair;
  size_t warm = 0;
  for (size_t i = 0; i <= count; ++i) {
    const ConnectFields fields =
        with_addresses ? DescribeClient(From(absl::StrCat("192.0.2.", i % 250, ":", 50'000 + i)))
                       : ConnectFields();
    EXPECT_TRUE(pair.client.session.Connect("db:5432", &pair.Make(), fields).ok());
    pair.Pump();
    if (i == 0) warm = pair.to_server.size();
  }
  return pair.to_server.size() - warm;
}

TEST(ClientFieldsTest, AddressesTakeFewBytesPerStreamForManyClients) {
  constexpr size_t kStreams = 500;
  // More addresses than HPACK's table holds.
  const size_t bare = OpeningBytes(kStreams, false);
  EXPECT_EQ(bare, kStreams * (9 + 2)) << "a frame header and two indexed fields";
  EXPECT_LE(OpeningBytes(kStreams, true) - bare, kStreams * 20);
}

TEST(ClientFieldsTest, FieldsAreSpecificToTheirStream) {
  Http2Pair pair;
  std::vector<ConnectFields> seen;
  pair.server.prepare = [&](test::TestStream&) {
    seen.push_back(pair.server.session.connect_fields());
  };
  ASSERT_TRUE(
      pair.client.session.Connect("db:5432", &pair.Make(), DescribeClient(From("192.0.2.1:1")))
          .ok());
  ASSERT_TRUE(pair.client.session.Connect("db:5432", &pair.Make()).ok());
  pair.Pump();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].client, "192.0.2.1:1");
  EXPECT_EQ(seen[1].client, "");
  EXPECT_EQ(seen[1].proxy_protocol, "");
}

}  // namespace
}  // namespace trunkline
