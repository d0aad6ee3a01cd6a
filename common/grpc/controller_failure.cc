#include "common/grpc/controller_failure.h"

#include <grpcpp/grpcpp.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/observe/log.h"

namespace trunkline {

ControllerFailure::ControllerFailure(std::string controller, std::string refused)
    : controller_(std::move(controller)), refused_(std::move(refused)) {}

void ControllerFailure::Clear() {
  text_.clear();
  unreachable_logged_at_.reset();
  refusal_logged_at_.reset();
}

void ControllerFailure::Record(const grpc::Status& status, const std::string& consequence,
                               MonotonicTime now) {
  const int code = status.error_code();
  const std::string error = status.ok()
                                ? "it ended the stream"
                                : absl::StrCat(status.error_message(), " (gRPC status ", code, ")");
  const bool unreachable = status.ok() || code == grpc::StatusCode::UNAVAILABLE;
  if (unreachable) {
    text_ = absl::StrCat("controller ", controller_, " is unreachable: ", error);
  } else {
    text_ = absl::StrCat("controller ", controller_, " refuses ", refused_, ": ", error);
  }
  std::optional<MonotonicTime>& logged_at =
      unreachable ? unreachable_logged_at_ : refusal_logged_at_;
  if (logged_at.has_value() && now - *logged_at < kLogInterval) return;
  logged_at = now;
  LogWarn("{}; {}; retrying", text_, consequence);
}

}  // namespace trunkline
