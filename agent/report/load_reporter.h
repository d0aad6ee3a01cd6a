// Sends load reports to the controller and receives directives, over one long gRPC stream.
//
// A report is the full state, so nothing is queued: while the controller is unreachable or slow,
// new samples replace unsent ones, and Offer never blocks. After a lost stream the reporter
// reconnects with jittered backoff and announces the agent again; sequence numbers continue. Logs
// transitions only.
//
// Owns a writing thread, and a reading thread per stream. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/report/load_report_builder.h"
#include "agent/sample/load_sample.h"
#include "common/base/timed_condition.h"
#include "common/grpc/controller_failure.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace trunkline {

class ReconnectLoop;

class LoadReporter {
 public:
  struct Options {
    // host:port.
    std::string controller;
    AgentIdentity identity;
    // Called on the reading thread for each directive; must not block.
    std::function<void(const Directive&)> on_directive;
  };
  struct Status {
    bool connected = false;
    uint64_t streams_opened = 0;
    uint64_t reports_sent = 0;
    uint64_t directives_received = 0;
    // Why the controller gets no reports, in a sentence; empty while it does.
    std::string failure;
    // The endpoints of the last directive.
    std::vector<Directive::EndpointState> endpoints;
    // The agent's endpoints that the controller does not accept.
    std::vector<Directive::Refusal> refused;
  };

  // Connects when the first samples are offered.
  explicit LoadReporter(Options options);
  // Stops at once unless Stop was called.
  ~LoadReporter();

  // Sets the samples to report next, replacing unsent ones.
  void Offer(std::vector<LoadSample> samples);

  // Notifies the controller that the agent leaves, waits at most `timeout` for that, and ends the
  // threads.
  void Stop(absl::Duration timeout);

  Status status() const;

 private:
  class Stream;

  void WriteLoop();
  // Runs one stream; returns how it ended.
  grpc::Status RunStream(const std::shared_ptr<grpc::Channel>& channel);
  // Reports on the stream until it breaks or the reporter stops.
  void Report(Stream& stream);
  void ReadDirectives(Stream& stream);
  void CancelIfStopping(Stream& stream);
  // Waits for new samples. Returns false if the stream broke or the reporter stops.
  bool AwaitSamples(Stream& stream, std::vector<LoadSample>* samples);
  bool Send(Stream& stream, const std::vector<LoadSample>& samples, bool announce, bool leaving);
  // Waits for samples to report. Returns false if the reporter stops.
  bool AwaitWork();
  // Records why the controller gets no reports, unless the reporter stops.
  void RecordFailure(const grpc::Status& status);
  void OnDirective(const Directive& directive);
  void NoteRefused(const std::vector<Directive::Refusal>& refused);

  const Options options_;
  const std::unique_ptr<ReconnectLoop> loop_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  TimedCondition ended_;  // of `finished_`
  bool has_new_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<LoadSample> latest_ ABSL_GUARDED_BY(mutex_);
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Status status_ ABSL_GUARDED_BY(mutex_);
  ControllerFailure failure_ ABSL_GUARDED_BY(mutex_);

  // Confined to the writing thread.
  uint64_t seq_ = 0;

  std::thread writer_;
};

}  // namespace trunkline
