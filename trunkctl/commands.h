// The commands of trunkctl. Each function makes one call, prints the response as a table or as JSON
// to standard output and any error to standard error, and returns the exit code. Confined to the
// main thread.
#pragma once

#include <string>

#include "trunkctl/client.h"
#include "trunkctl/render_history.h"

namespace trunkline {

struct Output {
  bool json = false;
};

struct EndpointName {
  std::string service;
  std::string endpoint_id;
};

// An empty `service` selects all services.
int ShowWeights(ControllerClient& client, const Output& output, const std::string& service);
int ShowEndpoints(ControllerClient& client, const Output& output, const std::string& service);
int ShowServices(ControllerClient& client, const Output& output);
int ShowProxies(ControllerClient& client, const Output& output);
int ShowSnapshot(ControllerClient& client, const Output& output);
int ExplainEndpoint(ControllerClient& client, const Output& output, const EndpointName& endpoint);
// An empty service or id selects all.
int ShowHistory(ControllerClient& client, const Output& output, const EndpointName& endpoint,
                HistoryQuantity quantity);
// Prints the current weights, then the weights after each change, until it has printed `count`
// tables; with count 0, until it is interrupted.
int WatchWeights(ControllerClient& client, const Output& output, const std::string& service,
                 int count);

int Drain(ControllerClient& client, const Output& output, const EndpointName& endpoint);
int Undrain(ControllerClient& client, const Output& output, const EndpointName& endpoint);
int Pin(ControllerClient& client, const Output& output, const EndpointName& endpoint,
        double weight);
// An empty id selects all expired endpoints of the service.
int Forget(ControllerClient& client, const Output& output, const EndpointName& endpoint);
int Unpin(ControllerClient& client, const Output& output, const EndpointName& endpoint);

// Makes the controller read its configuration file again.
int Reload(ControllerClient& client, const Output& output);

// Checks a configuration file without a controller. `kind` is controller, proxy or agent.
int CheckFile(const Output& output, const std::string& path, const std::string& kind);

}  // namespace trunkline
