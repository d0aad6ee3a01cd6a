#include "common/grpc/controller_failure.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/observe/log.h"

namespace trunkline {

ControllerFailure::ControllerFailure(std::string controller, std::string refused)
    : controller_(std::move(controller)), refused_(std::move(refused)) {}

void ControllerFailure::Clear() {
  text_.clear();
  logged_at_.reset();
}

void ControllerFailure::Record(const grpc::Status& status, const std::string& consequence,
                               MonotonicTime now) {
  const int code = status.error_code();
  if (code == grpc::StatusCode::DEADLINE_EXCEEDED) return;
  const std::string error = status.ok()
                                ? "it ended the stream"
                                : absl::StrCat(status.error_message(), " (gRPC status ", code, ")");
  if (status.ok() || code == grpc::StatusCode::UNAVAILABLE) {
    text_ = absl::StrCat("controller ", controller_, " is unreachable: ", error);
  } else {
    text_ = absl::StrCat("controller ", controller_, " refuses ", refused_, ": ", error);
  }
  if (logged_at_.has_value() && now - *logged_at_ < kLogInterval) return;
  logged_at_ = now;
  LogWarn("{}; {}; retrying", text_, consequence);
}

}  // namespace trunkline
