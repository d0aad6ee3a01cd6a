// The base of the controller's long-lived streams, which follows the rules of gRPC's reactors.
//
// At most one read and one write are in flight. Finish is called exactly once, never during a
// write, even after a cancel; nothing starts after Finish. The object lives until OnDone and until
// its last shared_ptr is gone. A server cannot shut down while a reactor is unfinished, so a
// StreamRegistry holds all streams and can end them.
//
// There is no send queue. When the stream can send, it asks the subclass for the newest message, so
// a slow peer skips outdated ones and costs no memory.
//
// Thread-safe. NextMessage runs under the stream's mutex and must not call the stream.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace trunkline {

inline grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

// The interface to end or wake a stream. Thread-safe.
class LiveStream {
 public:
  virtual ~LiveStream() = default;
  // Finishes with `status` as soon as gRPC allows. The first call decides the status and returns
  // true.
  virtual bool End(const absl::Status& status) = 0;
  // Makes the stream ask for a message to send.
  virtual void Wake() = 0;
};

// The live streams of one service. Thread-safe.
class StreamRegistry {
 public:
  explicit StreamRegistry(size_t max_streams) : max_streams_(max_streams) {}

  // Returns false, and the stream must end, after EndAll or if there are too many streams.
  bool Add(const std::shared_ptr<LiveStream>& stream) {
    absl::MutexLock lock(&mutex_);
    if (closing_ || streams_.size() >= max_streams_) return false;
    streams_[stream.get()] = stream;
    return true;
  }
  void Remove(LiveStream* stream) {
    absl::MutexLock lock(&mutex_);
    streams_.erase(stream);
  }
  void WakeAll() {
    for (const auto& stream : All()) stream->Wake();
  }
  // Ends all streams and refuses new ones.
  void EndAll(const absl::Status& status) {
    {
      absl::MutexLock lock(&mutex_);
      closing_ = true;
    }
    for (const auto& stream : All()) stream->End(status);
  }
  size_t size() const {
    absl::MutexLock lock(&mutex_);
    return streams_.size();
  }

 private:
  std::vector<std::shared_ptr<LiveStream>> All() const {
    absl::MutexLock lock(&mutex_);
    std::vector<std::shared_ptr<LiveStream>> all;
    for (const auto& [unused, stream] : streams_) all.push_back(stream);
    return all;
  }

  const size_t max_streams_;
  mutable absl::Mutex mutex_;
  std::map<LiveStream*, std::shared_ptr<LiveStream>> streams_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
};

// Implements sending. Reactor is a ServerBidiReactor or a ServerWriteReactor.
template <typename Reactor, typename Out>
class ServerStream : public Reactor,
                     public LiveStream,
                     public std::enable_shared_from_this<ServerStream<Reactor, Out>> {
 public:
  explicit ServerStream(StreamRegistry& registry) : registry_(registry) {}

  // Call once, right after make_shared. The reactor keeps itself alive until OnDone.
  void Open() {
    self_ = this->shared_from_this();
    if (registry_.Add(self_)) {
      OnOpen();
    } else {
      End(absl::UnavailableError(
          "the controller is stopping, or has too many streams of this kind; retry later"));
    }
  }

  bool End(const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    if (finished_) return false;
    const bool first = !pending_end_.has_value();
    if (first) pending_end_ = status;
    if (write_in_flight_) return first;
    finished_ = true;
    this->Finish(ToGrpc(*pending_end_));
    return first;
  }

  void Wake() override { Pump(); }

  void OnWriteDone(bool ok) override {
    bool ending;
    {
      absl::MutexLock lock(&mutex_);
      write_in_flight_ = false;
      ending = pending_end_.has_value();
    }
    if (ending || !ok) {
      End(absl::CancelledError("the peer is gone"));
    } else {
      Pump();
    }
  }

  void OnCancel() override { End(absl::CancelledError("the peer is gone")); }

  void OnDone() override {
    OnClosed();
    registry_.Remove(this);
    // Must be the last statement, because it may delete the object.
    std::shared_ptr<LiveStream> self = std::move(self_);
  }

 protected:
  // Starts reading and writing.
  virtual void OnOpen() = 0;
  // Fills in the newest message. Returns false if there is nothing to send.
  virtual bool NextMessage(Out* out) = 0;
  virtual void OnClosed() = 0;

  // Sends the next message, if the stream can send now.
  void Pump() {
    absl::MutexLock lock(&mutex_);
    if (finished_ || write_in_flight_ || pending_end_.has_value()) return;
    out_.Clear();
    if (!NextMessage(&out_)) return;
    write_in_flight_ = true;
    this->StartWrite(&out_);
  }

  template <typename In>
  void ReadNext(In* in) {
    absl::MutexLock lock(&mutex_);
    if (!finished_) this->StartRead(in);
  }

 private:
  StreamRegistry& registry_;
  std::shared_ptr<LiveStream> self_;
  absl::Mutex mutex_;
  Out out_;
  bool write_in_flight_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> pending_end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
