#include "common/grpc/grpc_log.h"

#include <grpc/support/log.h>

#include "common/observe/log.h"

namespace trunkline {
namespace {

void Forward(gpr_log_func_args* event) {
  switch (event->severity) {
    case GPR_LOG_SEVERITY_ERROR:
      return LogWarn("gRPC, {}:{}: {}", event->file, event->line, event->message);
    case GPR_LOG_SEVERITY_INFO:
      return LogInfo("gRPC, {}:{}: {}", event->file, event->line, event->message);
    default:
      return LogDebug("gRPC, {}:{}: {}", event->file, event->line, event->message);
  }
}

}  // namespace

void LogGrpcThroughOurLog() { gpr_set_log_function(Forward); }

}  // namespace trunkline
