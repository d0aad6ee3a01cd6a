#include "common/net/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"

namespace trunkline {
namespace {

using testing::HasSubstr;

TEST(AddressTest, WrittenFormIsReadBack) {
  for (const std::string text :
       {"10.0.0.1:80", "db-1.example_x.org:5432", "[::1]:80", "[fe80::2]:0", "[fe80::1%eth0]:80",
        "unix:/run/db.sock", "localhost:65535"}) {
    const auto address = ParseAddress(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(AddressTest, PartsAreSeparated) {
  EXPECT_EQ(*ParseAddress("[::1]:80"), (Address{"::1", 80, ""}));
  EXPECT_EQ(*ParseAddress("unix:/run/x"), (Address{"", 0, "/run/x"}));
  EXPECT_TRUE(ParseAddress("unix:/run/x")->is_unix());
  EXPECT_FALSE(ParseAddress("h:1")->is_unix());
}

TEST(AddressTest, OnlyHostNamesNeedALookup) {
  EXPECT_TRUE(IsHostName({.host = "db.internal", .port = 1}));
  EXPECT_TRUE(IsHostName({.host = "localhost", .port = 1}));
  EXPECT_FALSE(IsHostName({.host = "10.0.0.1", .port = 1}));
  EXPECT_FALSE(IsHostName({.host = "fe80::1%eth0", .port = 1}));
  EXPECT_FALSE(IsHostName({.unix_path = "/run/db"}));
}

TEST(AddressTest, MalformedTextIsRefusedWithWhatWasExpected) {
  const std::string malformed[] = {"",
                                   "nine",
                                   ":80",
                                   "host:",
                                   "host:port",
                                   "host:-1",
                                   "host:+1",
                                   "host: 80",
                                   "host:65536",
                                   "host:99999999999",
                                   "::1:80",
                                   "[::1]",
                                   "[::1",
                                   "[]:80",
                                   "[fe80::1%]:80",
                                   "[fe80::1%e/0]:80",
                                   "[%eth0]:80",
                                   "[10.0.0.1]:80",
                                   "10.0.0:80",
                                   "10.0.0.256:80",
                                   "a b:80",
                                   "h\n:80",
                                   "http://h:80",
                                   "unix:",
                                   "unix:relative",
                                   std::string("unix:/a\0b", 9),
                                   "h:80/path"};
  for (const std::string& text : malformed) {
    const auto address = ParseAddress(text);
    ASSERT_FALSE(address.ok()) << text;
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(address.status().message()),
                HasSubstr("expected host:port, [ipv6]:port or unix:/path"));
  }
}

TEST(AddressTest, UnixPathThatTheKernelCannotHoldIsRefused) {
  const std::string longest = "unix:/" + std::string(106, 'a');
  EXPECT_TRUE(ParseAddress(longest).ok());
  EXPECT_FALSE(ParseAddress(longest + "a").ok());
}

TEST(AddressTest, BoundPortReplacesTheConfiguredOne) {
  EXPECT_EQ(WithPort("db-1:0", 7073), "db-1:7073");
  EXPECT_EQ(WithPort("[fe80::1%eth0]:80", 9), "[fe80::1%eth0]:9");
}

TEST(AddressTest, EndlessHostNameIsRefused) {
  EXPECT_TRUE(ParseAddress(std::string(253, 'a') + ":1").ok());
  EXPECT_FALSE(ParseAddress(std::string(254, 'a') + ":1").ok());
}

}  // namespace
}  // namespace trunkline
