// Both ends of message mode, driven by a seed: a client that sends requests and may leave at any
// byte; a server that answers late, in pieces, with ids in any order, and may reset at any byte.
//
// Neither blocks: Step() does as much as possible. Confined to its test's thread.
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
    kServed,      // it got every expected reply and nothing else
    kLeft,        // it left early, as planned
    kReset,       // it was reset
    kLocalReply,  // it got a local reply and then a FIN
    kCutShort,    // it got a FIN before its last reply
    kWrong,       // it got bytes that are no reply to its next request, or to any with that id
  };

  // `client` must be unique; the seed determines its plan.
  AskingEnd(Peer peer, Framing framing, uint64_t client, uint64_t seed);

  // Sends a piece and reads one. Returns false if the end is done; its socket is then closed.
  bool Step();
  bool wants_to_read() const { return !over_ && !deaf_; }
  bool wants_to_write() const {
    return !over_ && !fin_sent_ && (!piece_.empty() || MayAsk() || MaySend() == 0);
  }
  int fd() const { return peer_.fd(); }

  // Valid once Step() has returned false:
  Outcome outcome() const { return outcome_; }
  bool meant_to_stay() const { return parting_ == Parting::kStays || parting_ == Parting::kFin; }
  // Describes the fault.
  const std::string& fault() const { return fault_; }

 private:
  enum class Parting {
    kStays,   // closes after its last reply
    kFin,     // half-closes after a certain byte and waits for the replies to its requests
    kResets,  // resets at a certain byte that it sends or reads
    kCloses,
  };
  struct Exchanged {
    std::string request;  // on the wire
    std::string answer;   // the content of the reply
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
  size_t window_ = 1;  // requests in flight
  Parting parting_ = Parting::kStays;
  bool deaf_ = false;        // never reads
  uint64_t stop_after_ = 0;  // bytes: sent ones for kFin, else of both directions
  size_t expected_ = 0;      // replies

  size_t asked_ = 0;    // complete requests sent
  size_t offset_ = 0;   // in the current request
  std::string piece_;   // bytes that the kernel has not taken
  uint64_t moved_ = 0;  // bytes of both directions
  uint64_t sent_ = 0;
  size_t answered_ = 0;
  uint64_t unanswered_bytes_ = 0;
  bool got_local_reply_ = false;
  bool blocked_ = false;
  bool fin_sent_ = false;
  bool over_ = false;
  Outcome outcome_ = Outcome::kLeft;
  std::string fault_;
};

class AnsweringEnd {
 public:
  AnsweringEnd(Peer peer, Framing framing, bool breaks, uint64_t seed);

  // Reads, and answers some of the requests. Returns false if the end is done.
  bool Step();
  bool wants_to_read() const { return true; }
  bool wants_to_write() const { return !out_.empty(); }
  int fd() const { return peer_.fd(); }

  // A number for each complete request, equal for equal requests.
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
  bool between_ = false;               // it resets at the end of a reply
  bool resets_ = false;
};

}  // namespace trunkline::test
