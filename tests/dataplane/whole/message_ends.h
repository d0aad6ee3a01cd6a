// Both ends of message mode, played by a seed: a client that asks, and leaves anywhere; a server
// that answers late and in pieces, where replies have ids in any order, and may break off anywhere.
//
// Neither waits: Step() does what can be done. Confined to its test's thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/random.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/seeded_messages.h"

namespace trunkline::test {

class AskingEnd {
 public:
  enum class Outcome {
    kServed,     // every reply that it waited for, and nothing else
    kLeft,       // before the end, as it meant to
    kBrokenOff,  // it was reset
    kTold,       // in place of a reply, that there is none, and then a clean end
    kCutShort,   // a clean end, though replies were missing
    kWrong,      // what it got is no reply of its next request, or of none with that id
  };

  // `client` is unlike all others; the seed says what it does.
  AskingEnd(Peer peer, Framing framing, uint64_t client, uint64_t seed);

  // Sends a piece and reads one. False: it is over, and its socket closed.
  bool Step();
  bool wants_to_read() const { return !over_ && !deaf_; }
  bool wants_to_write() const {
    return !over_ && !fin_sent_ && (!piece_.empty() || MayAsk() || MaySend() == 0);
  }
  int fd() const { return peer_.fd(); }

  // Once it is over:
  Outcome outcome() const { return outcome_; }
  bool meant_to_stay() const { return parting_ == Parting::kStays || parting_ == Parting::kFin; }
  // What was wrong, for people.
  const std::string& fault() const { return fault_; }

 private:
  enum class Parting {
    kStays,   // closes when all is answered
    kFin,     // half-closes at a byte that it sends, and waits for what it has asked by then
    kResets,  // at a byte that is sent or read
    kCloses,
  };
  struct Exchanged {
    std::string request;  // as it is sent
    std::string answer;   // its content
    bool answered = false;
  };

  void RollParting(uint64_t up, uint64_t down);
  bool MayAsk() const;
  uint64_t MaySend() const;
  void Send();
  void FillPiece();
  void Receive();
  void Check(const Unwrapper::Message& message);
  bool RestIsRight() const;
  void End(bool reset);
  void Leave();
  void Fail(const std::string& fault);

  const Framing framing_;
  const uint64_t client_;
  Peer peer_;
  FastRandom random_;
  Unwrapper unwrapper_;
  std::vector<Exchanged> exchanges_;
  size_t window_ = 1;  // requests under way
  Parting parting_ = Parting::kStays;
  bool deaf_ = false;        // never reads
  uint64_t stop_after_ = 0;  // bytes; of kFin those that are sent, else both ways
  size_t expected_ = 0;      // replies

  size_t asked_ = 0;    // whole requests
  size_t offset_ = 0;   // in the one that is under way
  std::string piece_;   // what the kernel has not taken
  uint64_t moved_ = 0;  // bytes, both ways
  uint64_t sent_ = 0;
  size_t answered_ = 0;
  uint64_t unanswered_bytes_ = 0;
  bool told_ = false;
  bool blocked_ = false;
  bool fin_sent_ = false;
  bool over_ = false;
  Outcome outcome_ = Outcome::kLeft;
  std::string fault_;
};

class AnsweringEnd {
 public:
  AnsweringEnd(Peer peer, Framing framing, bool breaks, uint64_t seed);

  // Reads, or answers some of what it has read, or not yet. False: it is over.
  bool Step();
  bool wants_to_read() const { return true; }
  bool wants_to_write() const { return !out_.empty(); }
  int fd() const { return peer_.fd(); }

  // A number for each named request that it got whole, the same for the same request.
  const std::vector<uint64_t>& executed() const { return executed_; }

 private:
  bool Receive();
  void Answer();
  void Flush();
  bool BreaksNow() const;

  const Framing framing_;
  Peer peer_;
  FastRandom random_;
  Unwrapper unwrapper_;
  std::vector<Unwrapper::Message> queue_;
  std::string out_;
  std::vector<uint64_t> executed_;
  uint64_t sent_ = 0;
  uint64_t break_after_ = UINT64_MAX;  // bytes of replies
  bool between_ = false;               // it breaks off at the end of a reply
  bool resets_ = false;
};

}  // namespace trunkline::test
