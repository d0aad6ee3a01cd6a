// Why a client of the controller has no working stream: for its log, once per minute at most for a
// controller that cannot be reached and for one that refuses, and for its /readyz.
#pragma once

#include <optional>
#include <string>

#include "common/base/clock.h"

namespace grpc {
class Status;
}  // namespace grpc

namespace trunkline {

// Externally synchronized.
class ControllerFailure {
 public:
  static constexpr absl::Duration kLogInterval = absl::Minutes(1);

  // `controller` is host:port. `refused` completes "the controller refuses ...".
  ControllerFailure(std::string controller, std::string refused);

  // The controller answers.
  void Clear();
  // An attempt or a stream ended with `status`. `consequence` completes the log line.
  void Record(const grpc::Status& status, const std::string& consequence, MonotonicTime now);

  // The last failure in a sentence without a period; empty while the controller answers, and before
  // the first attempt ended.
  const std::string& text() const { return text_; }

 private:
  const std::string controller_;
  const std::string refused_;
  std::string text_;
  // Unset: the next failure of this kind is logged.
  std::optional<MonotonicTime> unreachable_logged_at_;
  std::optional<MonotonicTime> refusal_logged_at_;
};

}  // namespace trunkline
