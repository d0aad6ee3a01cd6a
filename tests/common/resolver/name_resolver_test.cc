#include "common/resolver/name_resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"
#include "common/observe/metrics_page.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/common/resolver/dns_server.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Texts = std::vector<std::string>;

Address At(const std::string& host) { return {.host = host, .port = 80}; }

class NameResolverTest : public ::testing::Test {
 protected:
  void Start(absl::Duration refresh = absl::Milliseconds(20)) {
    resolver_ = std::make_unique<NameResolver>(
        NameResolver::Options{.program = "proxy",
                              .on_change =
                                  [this] {
                                    const std::lock_guard lock(mutex_);
                                    ++changes_;
                                    changed_.notify_all();
                                  },
                              .refresh = refresh,
                              .query_timeout = absl::Milliseconds(100),
                              .server = server_.address()});
  }
  // Returns the known addresses in the order of their text.
  Texts Known(const std::string& host) {
    Texts texts;
    const AddressList addresses = resolver_->Lookup(At(host));
    if (addresses == nullptr) return texts;
    for (const SocketAddress& address : *addresses) texts.push_back(address.ToString());
    std::sort(texts.begin(), texts.end());
    return texts;
  }
  // Waits until the known addresses of `host` are `wanted`.
  [[nodiscard]] bool Await(const std::string& host, const Texts& wanted) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(test::kPatienceMillis),
                             [&] { return Known(host) == wanted; });
  }
  std::string Page() const {
    MetricsWriter writer;
    resolver_->Collect(writer);
    return writer.Text();
  }

  test::DnsServer server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int changes_ = 0;
  std::unique_ptr<NameResolver> resolver_;
};

TEST_F(NameResolverTest, AllAddressesOfANameAreFound) {
  server_.Set("db.test", {"10.0.0.1", "10.0.0.2", "fd00::1"});
  Start();
  EXPECT_TRUE(Known("db.test").empty()) << "the first call does not wait";
  EXPECT_TRUE(Await("db.test", {"10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"}));
}

TEST_F(NameResolverTest, MovedNameIsFollowed) {
  server_.Set("db.test", {"10.0.0.1"});
  Start();
  EXPECT_TRUE(Await("db.test", {"10.0.0.1:80"}));
  server_.Set("db.test", {"10.0.0.9"});
  EXPECT_TRUE(Await("db.test", {"10.0.0.9:80"}));
}

TEST_F(NameResolverTest, NameThatIsGoneKeepsItsLastAddresses) {
  server_.Set("db.test", {"10.0.0.1"});
  Start();
  ASSERT_TRUE(Await("db.test", {"10.0.0.1:80"}));
  server_.Remove("db.test");
  // The answers to the first of these queries have arrived when the last one is sent.
  ASSERT_TRUE(server_.AwaitQueries("db.test", 6));
  EXPECT_EQ(Known("db.test"), Texts{"10.0.0.1:80"});
  EXPECT_THAT(Page(), HasSubstr("trunkline_proxy_name_unresolved{name=\"db.test:80\"} 1"));
  server_.Set("db.test", {"10.0.0.2"});
  EXPECT_TRUE(Await("db.test", {"10.0.0.2:80"}));
  EXPECT_THAT(Page(), Not(HasSubstr("name_unresolved{")));
}

TEST_F(NameResolverTest, SilentNameKeepsItsAddressesAndDelaysNoOther) {
  server_.Set("silent.test", {"10.0.0.1"});
  server_.Set("db.test", {"10.0.0.2"});
  Start();
  ASSERT_TRUE(Await("silent.test", {"10.0.0.1:80"}));
  server_.Silence("silent.test");
  ASSERT_TRUE(server_.AwaitQueries("silent.test", 2));
  EXPECT_TRUE(Await("db.test", {"10.0.0.2:80"}));
  server_.Set("db.test", {"10.0.0.3"});
  EXPECT_TRUE(Await("db.test", {"10.0.0.3:80"}));
  EXPECT_EQ(Known("silent.test"), Texts{"10.0.0.1:80"});
}

TEST_F(NameResolverTest, EndDoesNotWaitForASilentServer) {
  server_.Silence("silent.test");
  resolver_ = std::make_unique<NameResolver>(NameResolver::Options{
      .program = "proxy", .query_timeout = absl::Hours(1), .server = server_.address()});
  EXPECT_TRUE(Known("silent.test").empty());
  ASSERT_TRUE(server_.AwaitQueries("silent.test", 1));
  resolver_.reset();
}

TEST_F(NameResolverTest, OrderOfAnAnswerIsNoChange) {
  server_.Set("db.test", {"10.0.0.1", "10.0.0.2"});
  Start();
  ASSERT_TRUE(Await("db.test", {"10.0.0.1:80", "10.0.0.2:80"}));
  const AddressList before = resolver_->Lookup(At("db.test"));
  server_.Set("db.test", {"10.0.0.2", "10.0.0.1"});
  ASSERT_TRUE(server_.AwaitQueries("db.test", 6));
  EXPECT_EQ(resolver_->Lookup(At("db.test")), before);
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(changes_, 1);
}

TEST_F(NameResolverTest, FirstAnswersCanBeAwaited) {
  server_.Set("db.test", {"10.0.0.1"});
  Start();
  EXPECT_TRUE(Known("db.test").empty());
  EXPECT_TRUE(Known("gone.test").empty());
  resolver_->AwaitAnswers(absl::Milliseconds(test::kPatienceMillis));
  EXPECT_EQ(Known("db.test"), Texts{"10.0.0.1:80"});
}

TEST_F(NameResolverTest, UnusedNameIsForgottenUnlessPinned) {
  server_.Set("db.test", {"10.0.0.1"});
  server_.Set("pinned.test", {"10.0.0.2"});
  resolver_ =
      std::make_unique<NameResolver>(NameResolver::Options{.program = "proxy",
                                                           .refresh = absl::Milliseconds(20),
                                                           .forget_after = absl::ZeroDuration(),
                                                           .server = server_.address()});
  resolver_->Pin(At("pinned.test"));
  EXPECT_TRUE(Known("db.test").empty());
  // db.test is forgotten in the round after its first answer.
  ASSERT_TRUE(server_.AwaitQueries("pinned.test", 8));
  EXPECT_TRUE(Known("db.test").empty());
  EXPECT_EQ(Known("pinned.test"), Texts{"10.0.0.2:80"});
}

TEST_F(NameResolverTest, IpAddressesAndUnixSocketsNeedNoLookup) {
  Start();
  EXPECT_EQ(Known("10.0.0.7"), Texts{"10.0.0.7:80"});
  EXPECT_EQ(Known("fd00::7"), Texts{"[fd00::7]:80"});
  EXPECT_EQ(resolver_->Lookup({.unix_path = "/run/db"})->front().ToString(), "unix:/run/db");
  EXPECT_THAT(Page(), HasSubstr("trunkline_proxy_name_lookups_total 0"));
}

TEST_F(NameResolverTest, HostsFileIsUsed) {
  Start();
  (void)resolver_->Lookup(At("localhost"));
  resolver_->AwaitAnswers(absl::Milliseconds(test::kPatienceMillis));
  EXPECT_THAT(Known("localhost"), ::testing::Contains("127.0.0.1:80"));
}

}  // namespace
}  // namespace trunkline
