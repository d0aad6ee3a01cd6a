// trunkctl's commands: one call each, its answer as a table or as JSON. Every function returns the
// exit code; what goes wrong is printed to standard error. Confined to the main thread.
#pragma once

#include <string>

#include "trunkctl/client.h"

namespace trunkline {

struct Output {
  bool json = false;
};

int ShowWeights(ControllerClient& client, const Output& output, const std::string& service);
int ShowEndpoints(ControllerClient& client, const Output& output, const std::string& service);
int ShowServices(ControllerClient& client, const Output& output);
int ShowProxies(ControllerClient& client, const Output& output);
int ShowSnapshot(ControllerClient& client, const Output& output);
int ExplainEndpoint(ControllerClient& client, const Output& output,
                    const v1::ExplainWeightRequest& request);
// A table at once and at each change; `count` of them, 0: until interrupted.
int WatchWeights(ControllerClient& client, const Output& output, const std::string& service,
                 int count);

int Drain(ControllerClient& client, const Output& output, const v1::EndpointRequest& request);
int Undrain(ControllerClient& client, const Output& output, const v1::EndpointRequest& request);
int Pin(ControllerClient& client, const Output& output, const v1::PinRequest& request);
int Unpin(ControllerClient& client, const Output& output, const v1::EndpointRequest& request);

// Asks no controller. `kind`: controller, proxy or agent.
int CheckFile(const std::string& path, const std::string& kind);

}  // namespace trunkline
