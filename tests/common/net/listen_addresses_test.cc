#include "common/net/listen_addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "common/net/address.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

Address At(const std::string& text) { return ParseAddress(text).value(); }

bool Overlap(const std::string& a, const std::string& b) {
  const bool overlap = ListenPlace(At(a)).Overlaps(ListenPlace(At(b)));
  EXPECT_EQ(overlap, ListenPlace(At(b)).Overlaps(ListenPlace(At(a)))) << a << " " << b;
  return overlap;
}

TEST(ListenPlaceTest, WildcardIncludesTheHostsOfItsFamily) {
  EXPECT_TRUE(Overlap("0.0.0.0:1", "10.0.0.1:1"));
  EXPECT_TRUE(Overlap("[::]:1", "[2001:db8::1]:1"));
  EXPECT_TRUE(Overlap("[::]:1", "[fe80::1%eth0]:1"));
  EXPECT_TRUE(Overlap("0.0.0.0:1", "0.0.0.0:1"));
  EXPECT_FALSE(Overlap("0.0.0.0:1", "[::]:1"));
  EXPECT_FALSE(Overlap("0.0.0.0:1", "[::1]:1"));
  EXPECT_FALSE(Overlap("[::]:1", "127.0.0.1:1"));
  EXPECT_FALSE(Overlap("0.0.0.0:1", "0.0.0.0:2"));
  EXPECT_FALSE(Overlap("10.0.0.1:1", "10.0.0.2:1"));
}

TEST(ListenPlaceTest, EachWayToWriteAHostIsTheSame) {
  EXPECT_TRUE(Overlap("[::1]:1", "[0:0:0:0:0:0:0:1]:01"));
  EXPECT_TRUE(Overlap("[0::0]:1", "[::1]:1"));
  EXPECT_TRUE(Overlap("Www:1", "www:1"));
  EXPECT_FALSE(Overlap("www:1", "0.0.0.0:1")) << "what a name resolves to is not known";
}

TEST(ListenPlaceTest, PortZeroIsAnotherPortEachTime) { EXPECT_FALSE(Overlap("h:0", "h:0")); }

TEST(ListenAddressesTest, ErrorsNameBothServicesAndAddresses) {
  ListenAddresses taken;
  EXPECT_THAT(taken.Add("web", At("0.0.0.0:80")), IsEmpty());
  EXPECT_THAT(taken.Add("web", At("[::]:80")), IsEmpty());
  EXPECT_EQ(taken.Add("web", At("[0::0]:80")), "service web lists [0::0]:80 twice");
  EXPECT_EQ(taken.Add("db", At("0.0.0.0:80")), "services web and db both listen on 0.0.0.0:80");
  EXPECT_EQ(taken.Add("db", At("10.0.0.1:80")),
            "service db cannot listen on 10.0.0.1:80 beside service web on 0.0.0.0:80, because one "
            "address includes the other");
  EXPECT_THAT(taken.Add("db", At("10.0.0.1:81")), IsEmpty());
  EXPECT_THAT(taken.Add("web", At("0.0.0.0:81")), HasSubstr("beside service db on 10.0.0.1:81"));
}

TEST(ListenAddressesTest, PortZeroIsForSeveralServicesButOncePerService) {
  ListenAddresses taken;
  EXPECT_THAT(taken.Add("web", At("127.0.0.1:0")), IsEmpty());
  EXPECT_THAT(taken.Add("db", At("127.0.0.1:0")), IsEmpty());
  EXPECT_THAT(taken.Add("db", At("0.0.0.0:0")), IsEmpty());
  EXPECT_EQ(taken.Add("db", At("127.0.0.1:0")), "service db lists 127.0.0.1:0 twice");
}

TEST(ListenAddressesTest, ServiceThatDoesNotFitLeavesNothingBehind) {
  ListenAddresses taken;
  EXPECT_TRUE(taken.AddAll("web", {At("10.0.0.1:80"), At("10.0.0.1:81")}).ok());
  const absl::Status refused = taken.AddAll(
      "db", {At("10.0.0.1:90"), At("10.0.0.2:80"), At("10.0.0.3:80"), At("10.0.0.1:81")});
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("10.0.0.1:81"));
  EXPECT_TRUE(taken.AddAll("cache", {At("0.0.0.0:90"), At("10.0.0.3:80"), At("10.0.0.2:80")}).ok());
  EXPECT_FALSE(taken.AddAll("store", {At("10.0.0.9:90")}).ok()) << "the others are still there";
}

}  // namespace
}  // namespace trunkline
