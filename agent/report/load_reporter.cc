#include "agent/report/load_reporter.h"

#include <grpcpp/grpcpp.h>

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/observe/log.h"
#include "trunkline/v1/load_report.grpc.pb.h"

namespace trunkline {
namespace {

// The channel's waits between connects that fail, and ours between streams that end.
constexpr int kFirstReconnectMs = 250;
constexpr int kMaxReconnectMs = 10'000;
constexpr Backoff::Options kStreamBackoff = {.initial = absl::Milliseconds(kFirstReconnectMs),
                                             .max = absl::Milliseconds(kMaxReconnectMs),
                                             .factor = 2.0};
// This bounds one connect with its handshakes, although its name says otherwise; far shorter and
// TLS never connects.
constexpr int kConnectMs = 5'000;
// A controller that is frozen or cut off is noticed after both of these. The server allows a ping
// each period.
constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 5'000;
// A directive names the agent's few endpoints.
constexpr int kMaxDirectiveBytes = 1 << 20;
// A stream that lasted this long was a success: the next wait is the shortest again.
constexpr absl::Duration kLasted = absl::Seconds(10);

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& controller) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The controller is reached directly, whatever the environment says of a web proxy.
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Channels with equal arguments would share a connection, and its limits, within a process.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetMaxReceiveMessageSize(kMaxDirectiveBytes);
  return grpc::CreateCustomChannel(controller, grpc::InsecureChannelCredentials(), args);
}

}  // namespace

// One stream. Open blocks until the controller answers; Cancel, from any thread, ends whatever
// blocks.
class LoadReporter::Stream {
 public:
  explicit Stream(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::LoadReportingService::NewStub(channel)) {
    // Connecting and its backoff are the channel's; no deadline, for a stream has no end.
    context_.set_wait_for_ready(true);
  }

  void Open() { stream_ = stub_->Report(&context_); }
  bool Write(const v1::LoadReport& report) { return stream_->Write(report); }
  bool Read(v1::AgentDirective* directive) { return stream_->Read(directive); }
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
  std::unique_ptr<grpc::ClientReaderWriter<v1::LoadReport, v1::AgentDirective>> stream_;
};

LoadReporter::LoadReporter(Options options) : options_(std::move(options)) {
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
    // Nobody to say good-bye to, or no time for it.
    if (stream_ != nullptr && !stream_->opened) stream_->Cancel();
    mutex_.AwaitWithTimeout(absl::Condition(&finished_), timeout);
    if (stream_ != nullptr) stream_->Cancel();
  }
  writer_.join();
}

LoadReporter::Status LoadReporter::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

void LoadReporter::WriteLoop() {
  const std::shared_ptr<grpc::Channel> channel = MakeChannel(options_.controller);
  Backoff backoff(kStreamBackoff);
  FastRandom random(std::random_device{}());
  LogInfo("controller {}: connecting", options_.controller);
  const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return has_new_ || stopping_;
  };
  for (;;) {
    Stream stream(channel);
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&something));
      if (stopping_) break;
      stream_ = &stream;
    }
    const MonotonicTime start = MonotonicNow();
    RunStream(stream);
    absl::MutexLock lock(&mutex_);
    stream_ = nullptr;
    status_.connected = false;
    // What was sent last is still the newest word.
    has_new_ = !latest_.empty();
    if (stopping_) break;
    if (MonotonicNow() - start >= kLasted) backoff.Reset();
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), backoff.Next(random.Uniform()));
  }
  absl::MutexLock lock(&mutex_);
  finished_ = true;
}

void LoadReporter::RunStream(Stream& stream) {
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
  const grpc::Status end = stream.Finish();
  LogEnd(stream, end.error_code(), end.error_message());
}

void LoadReporter::CancelIfStopping(Stream& stream) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) stream.Cancel();
}

bool LoadReporter::AwaitSamples(Stream& stream, std::vector<LoadSample>* samples) {
  absl::MutexLock lock(&mutex_);
  const auto something = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return has_new_ || stopping_ || stream.broken;
  };
  mutex_.Await(absl::Condition(&something));
  if (stopping_ || stream.broken) return false;
  has_new_ = false;
  *samples = latest_;
  return true;
}

bool LoadReporter::Send(Stream& stream, const std::vector<LoadSample>& samples, bool announce,
                        bool leaving) {
  v1::LoadReport report = BuildLoadReport(options_.identity, ++seq_, announce, samples);
  report.set_leaving(leaving);
  if (!stream.Write(report)) return false;
  absl::MutexLock lock(&mutex_);
  ++status_.reports_sent;
  if (announce) ++status_.streams_opened;
  return true;
}

void LoadReporter::ReadDirectives(Stream& stream) {
  v1::AgentDirective message;
  while (stream.Read(&message)) {
    const Directive directive = ReadDirective(message);
    {
      absl::MutexLock lock(&mutex_);
      if (!stream.answered) LogInfo("reporting to controller {}", options_.controller);
      stream.answered = true;
      status_.connected = true;
      ++status_.directives_received;
    }
    TakeDirective(directive);
  }
  absl::MutexLock lock(&mutex_);
  stream.broken = true;
}

void LoadReporter::TakeDirective(const Directive& directive) {
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
  if (options_.on_directive) options_.on_directive(directive);
}

void LoadReporter::LogEnd(const Stream& stream, int code, const std::string& message) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  const std::string end = absl::StrCat(message, " (", code, ")");
  // The same end again, without a good stream in between, is no news.
  if (!stream.answered && end == last_end_) return;
  last_end_ = end;
  if (stream.answered || code == grpc::StatusCode::UNAVAILABLE) {
    LogWarn("controller {} is away: {}; flows go on, reports follow when it is back",
            options_.controller, end);
  } else {
    LogError("controller {} refuses the reports of agent {}: {}; trying again", options_.controller,
             options_.identity.agent_id, end);
  }
}

}  // namespace trunkline
