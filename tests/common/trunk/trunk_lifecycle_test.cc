// LIFECYCLE.md, the table in the code and a trunk over a real connection agree on every transition.
#include "common/trunk/trunk_lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iterator>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "common/base/absl_view.h"
#include "common/trunk/trunk_connection.h"
#include "tests/common/base/lifecycle_page.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/common/trunk/trunk_sides.h"

namespace trunkline {

// As LIFECYCLE.md writes them.
constexpr std::array<std::string_view, 6> kStateNames = {"starting",      "up",      "draining",
                                                         "peer draining", "closing", "lost"};
constexpr std::array<std::string_view, 5> kEventNames = {"SETTINGS", "GOAWAY", "Drain()",
                                                         "finished", "Close()"};

std::string_view NameOf(TrunkState state) { return kStateNames.at(static_cast<size_t>(state)); }
std::string_view NameOf(TrunkEvent event) { return kEventNames.at(static_cast<size_t>(event)); }

struct TrunkRow {
  TrunkState from;
  TrunkEvent event;
  TrunkState to;
};
void PrintTo(const TrunkRow& row, std::ostream* out) {
  *out << NameOf(row.from) << ", " << NameOf(row.event);
}

namespace {

using test::Http2Client;
using test::Peer;
using test::TcpPair;
using test::TestStream;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr char kPage[] = "common/trunk/LIFECYCLE.md";

std::vector<TrunkRow> RowsOfTheCode() {
  std::vector<TrunkRow> rows;
  for (size_t s = 0; s < kStateNames.size(); ++s) {
    for (size_t e = 0; e < kEventNames.size(); ++e) {
      const auto state = static_cast<TrunkState>(s);
      const auto event = static_cast<TrunkEvent>(e);
      if (kTrunkTable.Has(state, event)) {
        rows.push_back({state, event, kTrunkTable.After(state, event)});
      }
    }
  }
  return rows;
}

// The first cells of the rows below `section`.
std::vector<std::string> NamesBelow(const std::string& section) {
  std::vector<std::string> names;
  for (const test::PageRow& row : test::ReadTable(kPage, section)) names.push_back(row.from);
  return names;
}

TEST(TrunkLifecyclePage, ShowsExactlyTheTransitionsOfTheCode) {
  const test::Lifecycle<TrunkState, TrunkEvent, decltype(kTrunkTable)> code(
      kTrunkTable, kStateNames, kEventNames);
  code.ExpectPageMatchesCode(test::ReadTable(kPage, "Transitions"));
}

TEST(TrunkLifecyclePage, ExplainsEveryStateAndEvent) {
  EXPECT_THAT(NamesBelow("States"), ElementsAreArray(kStateNames));
  EXPECT_THAT(NamesBelow("Events"), ElementsAreArray(kEventNames));
}

TEST(TrunkLifecyclePage, NothingLeavesLost) {
  for (const TrunkRow& row : RowsOfTheCode()) EXPECT_NE(row.from, TrunkState::kLost);
}

TEST(TrunkLifecyclePage, NamesTheTimesOfTheCode) {
  std::ifstream file(std::string(TRUNKLINE_SOURCE_DIR "/") + kPage);
  const std::string page(std::istreambuf_iterator<char>(file), {});
  const TrunkConnection::Options options;
  const auto seconds = [](absl::Duration time) {
    return absl::StrCat(absl::ToInt64Seconds(time), " s");
  };
  EXPECT_THAT(page, HasSubstr("Silence of " + seconds(options.ping_after) + " in alive"));
  EXPECT_THAT(page, HasSubstr("after " + seconds(options.up_timeout) + " in unheard"));
  EXPECT_THAT(page, HasSubstr("after " + seconds(options.ping_timeout) + " in suspect"));
}

// Drives the accepting end of a trunk, whose peer is scripted.
class TrunkTransitionTest : public test::TrunkSidesTest {
 protected:
  ~TrunkTransitionTest() override { peer_.session.CloseAll(NGHTTP2_NO_ERROR); }

  TrunkConnection& trunk() { return *server_.trunk; }
  bool Is(TrunkState state) { return server_.trunk != nullptr && trunk().state() == state; }

  void Start(TrunkConnection::Options options = {}) {
    auto [fd, raw] = TcpPair();
    raw_ = std::move(raw);
    options.role = Role::kServer;
    options.up_timeout = absl::Seconds(30);
    server_.Start(std::move(fd), options);
  }
  // Writes the peer's output and waits until the trunk has read it.
  void Tell() {
    const std::string bytes = peer_.TakeOutput();
    const uint64_t before = server_.counters.bytes_read.Value();
    ASSERT_TRUE(raw_.Send(bytes));
    ASSERT_TRUE(
        RunUntil([&] { return server_.counters.bytes_read.Value() >= before + bytes.size(); }));
  }
  void OpenStream() {
    ASSERT_TRUE(peer_.session.Connect("db:1", &stream_).ok());
    Tell();
  }
  void ReachUp() {
    Start();
    Tell();
    ASSERT_TRUE(Is(TrunkState::kUp));
  }
  // The first SETTINGS are outstanding if `event` brings them.
  void Reach(TrunkState state, TrunkEvent event) {
    if (state == TrunkState::kStarting) return Start();
    if (event == TrunkEvent::kSettings) {
      Start();
      trunk().Drain();
      ASSERT_TRUE(RunUntil([&] { return Is(state); }));
      return;
    }
    ReachUp();
    // Without a stream a trunk that drains finishes at once.
    if (state != TrunkState::kClosing) OpenStream();
    if (state == TrunkState::kUp) return;
    if (state == TrunkState::kDraining) {
      trunk().Drain();
    } else {
      peer_.session.GoAway(NGHTTP2_NO_ERROR);
      Tell();
    }
    ASSERT_TRUE(RunUntil([&] { return Is(state); }));
  }
  void Fire(const TrunkRow& row) {
    switch (row.event) {
      case TrunkEvent::kSettings:
        return Tell();
      case TrunkEvent::kGoAway:
        peer_.session.GoAway(NGHTTP2_NO_ERROR);
        return Tell();
      case TrunkEvent::kDrain:
        return trunk().Drain();
      case TrunkEvent::kFinished:
        peer_.session.Abandon(&stream_, NGHTTP2_CANCEL);
        Tell();
        ASSERT_TRUE(RunUntil([&] { return !Is(row.from); }));
        return;
      case TrunkEvent::kClose:
        return trunk().Close(absl::OkStatus());
    }
  }

  Peer raw_;
  TestStream stream_;
  Http2Client peer_;
};

class TrunkRowTest : public TrunkTransitionTest, public testing::WithParamInterface<TrunkRow> {};

TEST_P(TrunkRowTest, LeadsToTheStateOfTheTable) {
  const TrunkRow& row = GetParam();
  Reach(row.from, row.event);
  ASSERT_TRUE(Is(row.from));
  Fire(row);
  if (row.to == TrunkState::kLost) {
    EXPECT_TRUE(server_.lost);
  } else {
    ASSERT_FALSE(server_.lost) << server_.lost_why;
    EXPECT_EQ(NameOf(trunk().state()), NameOf(row.to));
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, TrunkRowTest, testing::ValuesIn(RowsOfTheCode()),
                         [](const testing::TestParamInfo<TrunkRow>& info) {
                           const std::string name =
                               absl::StrCat(AbslView(NameOf(info.param.from)), "_",
                                            AbslView(NameOf(info.param.event)));
                           return absl::StrReplaceAll(name, {{" ", ""}, {"()", ""}, {"_", "On"}});
                         });

using LivenessPage = test::Lifecycle<Liveness, LivenessEvent, decltype(kLivenessTable)>;

class TrunkLivenessTest : public TrunkTransitionTest {
 protected:
  // A trunk whose peer is suspected of silence after 20 ms, but never found dead.
  void StartImpatient() {
    Start({.ping_after = absl::Milliseconds(20), .ping_timeout = absl::Seconds(20)});
  }
  bool Is(Liveness liveness) { return trunk().liveness() == liveness; }
  LivenessPage::Observed Observe(const std::function<void()>& event) {
    const Liveness before = trunk().liveness();
    event();
    return {before, trunk().liveness()};
  }
};

TEST_F(TrunkLivenessTest, PageCodeAndTrunkAgree) {
  LivenessPage page(kLivenessTable, {"unheard", "alive", "suspect"},
                    {"SETTINGS", "silence", "any byte"});
  // Each row starts where the one before it ended.
  StartImpatient();
  page.Add(Liveness::kUnheard, LivenessEvent::kSettings,
           [this] { return Observe([this] { Tell(); }); });
  page.Add(Liveness::kAlive, LivenessEvent::kSilence, [this] {
    return Observe([this] { EXPECT_TRUE(RunUntil([&] { return Is(Liveness::kSuspect); })); });
  });
  page.Add(Liveness::kSuspect, LivenessEvent::kAnyByte, [this] {
    return Observe([this] {
      peer_.session.Ping();
      Tell();
    });
  });
  const std::vector<test::PageRow> rows = test::ReadTable(kPage, "Is the peer alive?");
  page.ExpectPageMatchesCode(rows);
  page.ExpectClassFollows(rows);
}

// Only the first SETTINGS make a peer an HTTP/2 peer: a trunk in starting never sees a GOAWAY.
TEST_F(TrunkTransitionTest, GoAwayBeforeSettingsIsAProtocolError) {
  Start();
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  ASSERT_TRUE(raw_.Send(preface + test::RawFrame(NGHTTP2_GOAWAY, 0, 0, std::string(8, '\0'))));
  ASSERT_TRUE(RunUntil([&] { return server_.lost; }));
  EXPECT_EQ(server_.counters.protocol_errors.Value(), 1u);
}

}  // namespace
}  // namespace trunkline
