// The listening sockets of a proxy: for each address of each service, one for each worker.
//
// Follows the addresses that the services want. An address that moves to another service keeps its
// sockets, with the clients in their accept queues. An address that cannot be opened, because
// another program uses it, is missing and affects no other address. While any address of a service
// is missing, the service keeps the ones that it no longer wants.
//
// Externally synchronized.
#pragma once

#include <compare>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "common/observe/metrics_page.h"
#include "dataplane/listen/inheritance.h"

namespace trunkline {

class ListenerSet {
 public:
  // Addresses by service. One that occurs twice in a service counts once.
  using Addresses = std::map<std::string, std::vector<Address>>;

  class Workers {
   public:
    virtual ~Workers() = default;
    // From now on, accept the service's clients from these sockets, which are copies.
    virtual void Listen(const std::string& service, const std::string& address,
                        std::vector<UniqueFd> sockets) = 0;
    // Accept no more clients from the sockets of that Listen, if there was one.
    virtual void StopListening(const std::string& service, const std::string& address) = 0;
  };

  struct Options {
    size_t workers = 1;
    Keepalive keepalive;
  };

  // `workers` outlives this. `inherited` are sockets that Copies returned in another process.
  ListenerSet(const Options& options, Workers& workers, ListeningSockets&& inherited);

  void Want(const Addresses& wanted);
  // Opens what is wanted, distributes it to the workers, and closes what is not wanted: clients
  // must not wait in the accept queue of a service that no longer exists.
  void Match();
  // Returns true if the last Match opened everything.
  bool complete() const { return missing_.empty(); }

  // The workers accept nothing until the next Match. The sockets stay open.
  void StopAccepting();
  // Closes the sockets.
  void Close() { open_.clear(); }

  // Returns copies of the sockets, under keys that both proxies of a hot restart derive.
  // RESOURCE_EXHAUSTED: no descriptors are left for all of them.
  absl::StatusOr<ListeningSockets> Copies() const;
  // Returns false if there are sockets and none of the wanted addresses would use one.
  bool UsesSockets() const;
  // Returns why each missing address is missing, or an empty string.
  std::string Missing() const;
  // Returns the addresses on which workers accept, with the actual port instead of 0.
  std::map<std::string, std::vector<std::string>> Bound() const;
  void Collect(MetricsWriter& writer) const;

 private:
  struct Key {
    std::string service;
    std::string address;  // as it is wanted
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Open {
    Address wanted;
    Address bound;                  // the same, with the actual port instead of 0
    std::vector<UniqueFd> sockets;  // workers have copies of these
    bool served = false;            // false: no worker accepts on it yet
    std::string why_unserved;       // after an attempt to serve
  };
  using Listeners = std::map<Key, Open>;
  using Errors = std::map<Key, std::string>;

  void Keep(Listeners& before);
  void Pass(Listeners& before);
  Errors OpenOthers(const Listeners& before);
  void KeepFormer(const Errors& errors, Listeners& before);
  void Report(const Errors& errors);
  std::string WhyMissing(const Key& key, const std::string& error) const;
  void Hold(const Key& key, Open open);
  // Gives the sockets to the workers, unless no descriptors are left for that.
  void Serve(const Key& key, Open& open);

  const Options options_;
  Workers& workers_;
  std::map<Key, Address> wanted_;
  Listeners open_;
  // Why the last Match could not open an address: whole sentences.
  std::map<Key, std::string> missing_;
};

}  // namespace trunkline
