#include "agent/report/load_reporter.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/report/load_report_builder.h"
#include "agent/sample/load_sample.h"
#include "common/base/clock.h"
#include "common/grpc/reconnect_loop.h"
#include "common/observe/log.h"
#include "trunkline/v1/load_report.grpc.pb.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {

// One stream. Open blocks until the channel is connected; Cancel, on any thread, unblocks all
// calls.
class LoadReporter::Stream {
 public:
  explicit Stream(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::LoadReportingService::NewStub(channel)) {
    // The channel may have lost its connection. There is no deadline, since a stream is unlimited.
    context_.set_wait_for_ready(true);
  }

  void Open() { stream_ = stub_->ReportLoad(&context_); }
  bool Write(const v1::ReportLoadRequest& report) { return stream_->Write(report); }
  bool Read(v1::ReportLoadResponse* directive) { return stream_->Read(directive); }
  void WritesDone() { stream_->WritesDone(); }
  grpc::Status Finish() { return stream_->Finish(); }
  void Cancel() { context_.TryCancel(); }

  // Guarded by the reporter's mutex.
  bool opened = false;
  bool broken = false;
  bool answered = false;

 private:
  const std::unique_ptr<v1::LoadReportingService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ReportLoadRequest, v1::ReportLoadResponse>> stream_;
};

LoadReporter::LoadReporter(Options options)
    : options_(std::move(options)),
      loop_(std::make_unique<ReconnectLoop>(
          options_.controller,
          ReconnectLoop::Calls{
              .await_turn = [this] { return AwaitWork(); },
              .run_stream = [this](const auto& channel) { return RunStream(channel); },
              .on_end = [this](const auto& status) { RecordFailure(status); }})),
      failure_(options_.controller,
               absl::StrCat("the load reports of agent ", options_.identity.agent_id)) {
  writer_ = std::thread([this] { WriteLoop(); });
}

LoadReporter::~LoadReporter() { Stop(absl::ZeroDuration()); }

void LoadReporter::Offer(std::vector<LoadSample> samples) {
  absl::MutexLock lock(&mutex_);
  latest_ = std::move(samples);
  has_new_ = true;
}

void LoadReporter::Stop(absl::Duration timeout) {
  if (!writer_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    // A stream that is not open has no controller to notify.
    if (stream_ != nullptr && !stream_->opened) stream_->Cancel();
  }
  loop_->Stop();
  {
    absl::MutexLock lock(&mutex_);
    ended_.AwaitFor(mutex_, timeout, absl::Condition(&finished_));
    if (stream_ != nullptr) stream_->Cancel();
  }
  writer_.join();
}

LoadReporter::Status LoadReporter::status() const {
  absl::MutexLock lock(&mutex_);
  Status status = status_;
  status.failure = failure_.text();
  return status;
}

void LoadReporter::WriteLoop() {
  LogInfo("controller {}: connecting", options_.controller);
  loop_->Run();
  absl::MutexLock lock(&mutex_);
  finished_ = true;
  ended_.NotifyAll();
}

bool LoadReporter::AwaitWork() {
  absl::MutexLock lock(&mutex_);
  const auto has_work = [this]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return has_new_ || stopping_; };
  mutex_.Await(absl::Condition(&has_work));
  return !stopping_;
}

grpc::Status LoadReporter::RunStream(const std::shared_ptr<grpc::Channel>& channel) {
  Stream stream(channel);
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return grpc::Status::OK;
    stream_ = &stream;
  }
  Report(stream);
  grpc::Status status = stream.Finish();
  absl::MutexLock lock(&mutex_);
  stream_ = nullptr;
  status_.connected = false;
  // The next stream repeats the last samples.
  has_new_ = !latest_.empty();
  return status;
}

void LoadReporter::Report(Stream& stream) {
  stream.Open();
  {
    absl::MutexLock lock(&mutex_);
    stream.opened = true;
  }
  std::thread reader([&] { ReadDirectives(stream); });
  std::vector<LoadSample> samples;
  bool announce = true;
  while (AwaitSamples(stream, &samples)) {
    if (!Send(stream, samples, announce, /*leaving=*/false)) break;
    announce = false;
  }
  bool leave = false;
  {
    absl::MutexLock lock(&mutex_);
    leave = stopping_ && !stream.broken && !announce;
  }
  if (leave && Send(stream, samples, /*announce=*/false, /*leaving=*/true)) {
    stream.WritesDone();
  } else {
    CancelIfStopping(stream);
  }
  reader.join();
}

void LoadReporter::CancelIfStopping(Stream& stream) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) stream.Cancel();
}

bool LoadReporter::AwaitSamples(Stream& stream, std::vector<LoadSample>* samples) {
  absl::MutexLock lock(&mutex_);
  const auto has_work = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return has_new_ || stopping_ || stream.broken;
  };
  mutex_.Await(absl::Condition(&has_work));
  if (stopping_ || stream.broken) return false;
  has_new_ = false;
  *samples = latest_;
  return true;
}

bool LoadReporter::Send(Stream& stream, const std::vector<LoadSample>& samples, bool announce,
                        bool leaving) {
  v1::ReportLoadRequest report = BuildLoadReport(options_.identity, ++seq_, announce, samples);
  report.set_leaving(leaving);
  if (!stream.Write(report)) return false;
  absl::MutexLock lock(&mutex_);
  ++status_.reports_sent;
  if (announce) ++status_.streams_opened;
  return true;
}

void LoadReporter::ReadDirectives(Stream& stream) {
  v1::ReportLoadResponse message;
  while (stream.Read(&message)) {
    const Directive directive = ReadDirective(message);
    {
      absl::MutexLock lock(&mutex_);
      if (!stream.answered) LogInfo("reporting to controller {}", options_.controller);
      stream.answered = true;
      failure_.Clear();
      status_.connected = true;
      ++status_.directives_received;
    }
    OnDirective(directive);
  }
  absl::MutexLock lock(&mutex_);
  stream.broken = true;
}

void LoadReporter::OnDirective(const Directive& directive) {
  std::vector<Directive::EndpointState> before;
  {
    absl::MutexLock lock(&mutex_);
    before = std::exchange(status_.endpoints, directive.endpoints);
  }
  for (const Directive::EndpointState& endpoint : directive.endpoints) {
    bool was_draining = false;
    for (const Directive::EndpointState& old : before) {
      if (old.service == endpoint.service && old.endpoint_id == endpoint.endpoint_id) {
        was_draining = old.draining;
      }
    }
    if (was_draining == endpoint.draining) continue;
    LogInfo("service {}: endpoint {} is {}", endpoint.service, endpoint.endpoint_id,
            endpoint.draining ? "draining: no new flows" : "back in service");
  }
  NoteRefused(directive.refused);
  if (options_.on_directive) options_.on_directive(directive);
}

void LoadReporter::NoteRefused(const std::vector<Directive::Refusal>& refused) {
  std::vector<Directive::Refusal> before;
  {
    absl::MutexLock lock(&mutex_);
    before = std::exchange(status_.refused, refused);
  }
  for (const Directive::Refusal& endpoint : refused) {
    if (std::find(before.begin(), before.end(), endpoint) != before.end()) continue;
    LogError(
        "controller {} refuses endpoint {}/{}, which gets no clients through this agent; other "
        "services are not affected: {}",
        options_.controller, endpoint.service, endpoint.endpoint_id, endpoint.reason);
  }
  for (const Directive::Refusal& endpoint : before) {
    const bool still = std::any_of(refused.begin(), refused.end(), [&](const auto& other) {
      return other.service == endpoint.service && other.endpoint_id == endpoint.endpoint_id;
    });
    if (still) continue;
    LogInfo("controller {} accepts endpoint {}/{} now", options_.controller, endpoint.service,
            endpoint.endpoint_id);
  }
}

void LoadReporter::RecordFailure(const grpc::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  failure_.Record(status, "flows continue, reports resume when it accepts them", MonotonicNow());
}

}  // namespace trunkline
