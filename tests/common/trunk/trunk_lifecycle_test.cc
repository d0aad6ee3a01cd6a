// LIFECYCLE.md, the table in the code and a trunk over a real connection agree on every transition.
#include "common/trunk/trunk_lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/absl_view.h"
#include "tests/common/trunk/trunk_sides.h"

namespace trunkline {

void PrintTo(const TrunkTransition& transition, std::ostream* out) {
  *out << NameOf(transition.from) << ", " << NameOf(transition.event);
}

namespace {

using test::Http2Client;
using test::Peer;
using test::TcpPair;
using test::TestStream;
using ::testing::ElementsAreArray;

using Row = std::vector<std::string>;

// The rows of the table below the heading "## `title`", without its head.
std::vector<Row> ReadTable(const std::string& title) {
  std::ifstream page(TRUNKLINE_SOURCE_DIR "/common/trunk/LIFECYCLE.md");
  std::vector<Row> rows;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("## ", 0) == 0) inside = line == "## " + title;
    if (!inside || line.rfind("| ", 0) != 0) continue;
    Row row;
    const std::string cells(absl::StripSuffix(absl::StripPrefix(line, "|"), "|"));
    for (const absl::string_view cell : absl::StrSplit(cells, '|')) {
      row.emplace_back(absl::StripAsciiWhitespace(cell));
    }
    rows.push_back(row);
  }
  if (!rows.empty()) rows.erase(rows.begin());
  return rows;
}

TEST(TrunkLifecyclePage, ShowsExactlyTheTransitionsOfTheCode) {
  std::vector<std::tuple<std::string, std::string, std::string>> page;
  for (const Row& row : ReadTable("Transitions")) {
    ASSERT_EQ(row.size(), 4u);
    page.emplace_back(row[0], row[1], row[2]);
  }
  std::vector<std::tuple<std::string, std::string, std::string>> code;
  for (const TrunkTransition& t : kTrunkTransitions) {
    code.emplace_back(NameOf(t.from), NameOf(t.event), NameOf(t.to));
  }
  EXPECT_THAT(page, ElementsAreArray(code));
}

TEST(TrunkLifecyclePage, ExplainsEveryStateAndEvent) {
  std::vector<std::string> states;
  for (const Row& row : ReadTable("States")) states.push_back(row[0]);
  EXPECT_THAT(states,
              ElementsAreArray({"starting", "up", "draining", "peer draining", "closing", "lost"}));
  std::vector<std::string> events;
  for (const Row& row : ReadTable("Events")) events.push_back(row[0]);
  EXPECT_THAT(events, ElementsAreArray({"SETTINGS", "GOAWAY", "Drain()", "finished", "Close()"}));
}

TEST(TrunkLifecycleTable, HasOneRowPerStateAndEventAndNoneLeavesLost) {
  for (const TrunkTransition& t : kTrunkTransitions) {
    EXPECT_EQ(NextState(t.from, t.event), t.to) << NameOf(t.from) << ", " << NameOf(t.event);
    EXPECT_NE(t.from, TrunkState::kLost);
  }
  EXPECT_EQ(NextState(TrunkState::kLost, TrunkEvent::kClose), std::nullopt);
}

// Drives the accepting end of a trunk, whose peer is scripted.
class TrunkTransitionTest : public test::TrunkSidesTest {
 protected:
  ~TrunkTransitionTest() override { peer_.session.CloseAll(NGHTTP2_NO_ERROR); }

  TrunkConnection& trunk() { return *server_.trunk; }
  bool Is(TrunkState state) { return server_.trunk != nullptr && trunk().state() == state; }

  void Start() {
    auto [fd, raw] = TcpPair();
    raw_ = std::move(raw);
    server_.Start(std::move(fd), {.role = Role::kServer, .up_timeout = absl::Seconds(30)});
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
  void Fire(const TrunkTransition& row) {
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

class TrunkRowTest : public TrunkTransitionTest,
                     public testing::WithParamInterface<TrunkTransition> {};

TEST_P(TrunkRowTest, LeadsToTheStateOfTheTable) {
  const TrunkTransition& row = GetParam();
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

INSTANTIATE_TEST_SUITE_P(Rows, TrunkRowTest, testing::ValuesIn(kTrunkTransitions),
                         [](const testing::TestParamInfo<TrunkTransition>& info) {
                           const std::string name =
                               absl::StrCat(AbslView(NameOf(info.param.from)), "_",
                                            AbslView(NameOf(info.param.event)));
                           return absl::StrReplaceAll(name, {{" ", ""}, {"()", ""}, {"_", "On"}});
                         });

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
