// Sends gRPC's own log lines to our log. By default gRPC writes them to standard error from its
// threads, and a full pipe there would block them.
#pragma once

namespace trunkline {

// Called once, by main, after the log is initialized and before gRPC is used.
void LogGrpcThroughOurLog();

}  // namespace trunkline
