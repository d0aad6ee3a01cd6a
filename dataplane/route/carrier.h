// A worker's upstream connections to one endpoint, in any forwarding mode, as the router sees them.
//
// A TrunkPool carries flows of every service with an endpoint at that agent; a SharedPool and a
// DirectCarrier carry flows of one service.
//
// Confined to its worker's loop. A carrier without users closes its connections, and its worker
// deletes it once idle() returns true.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/inband/inband_report.h"
#include "common/net/address_list.h"
#include "dataplane/flow/flow.h"

namespace trunkline {

class SharedConnection;
class TrunkConnection;

class Carrier {
 public:
  // Receives a carrier's notifications. Outlives its registration. Must not start a flow during a
  // call, because the carrier's state is in transition.
  class User {
   public:
    virtual ~User() = default;
    // The carrier became usable or unusable, or has room again after it had none.
    virtual void OnCarrierChanged(Carrier& carrier) = 0;
    // Returns true if flows wait for room.
    virtual bool waits() const = 0;
    // Returns true if its service has other endpoints, for which a dial must leave time.
    virtual bool has_others() const = 0;
    // After Await: the carrier may have room.
    virtual void OnCarrierRoom(Carrier& carrier) = 0;
    // The carrier's agent sent an in-band load report for one of its services, or no longer sends
    // any.
    virtual void OnInbandReport(Carrier& carrier, const InbandReport& report) = 0;
    virtual void OnLoadUnknown(Carrier& carrier) = 0;
  };

  virtual ~Carrier() = default;

  void AddUser(User* user) {
    users_.push_back(user);
    OnUsed();
  }
  void RemoveUser(User* user) {
    const auto entry = std::find(users_.begin(), users_.end(), user);
    TRUNKLINE_CHECK(entry != users_.end(), "only a user of the carrier leaves it");
    users_.erase(entry);
    if (users_.empty()) OnUnused();
  }
  // Sets the addresses to dial, which change when the name resolves to others. Not null.
  void SetTarget(AddressList addresses) {
    targets_.Set(std::move(addresses));
    OnTarget();
  }
  // Returns the addresses to dial in turn. A caller that dials reports failures to OnFailed.
  AddressRotation& targets() { return targets_; }
  // Returns true if a flow that starts now will probably reach the endpoint.
  virtual bool usable() const = 0;
  // Returns true if connects to the endpoint fail. It then gets flows only while no endpoint of
  // the service is healthy, and the carrier finds out by itself when connects succeed again.
  virtual bool failing() const { return false; }
  // Takes over what other workers know, and returns failing().
  virtual bool LearnFailing() { return false; }
  // A flow's own connect to the endpoint failed, at all its addresses. Returns false if the carrier
  // draws no conclusion.
  virtual bool OnConnectFailed(ConnectFailure) { return false; }
  // A flow's own connect succeeded.
  virtual void OnConnected() {}
  // Returns true if the endpoint is reachable but at one of its limits.
  // Changes are notified like those of usable().
  virtual bool full() const { return false; }
  // Names that limit and what to do about it, for the log; only while full().
  virtual std::string DescribeFull() const { return ""; }
  // Returns a trunk with room for one more stream, or null. Null in other modes than tunnel.
  virtual TrunkConnection* AcquireTrunk() { return nullptr; }
  // Returns a shared connection of this variant of the protocol with room for one more request, or
  // null. Null in other modes than message.
  virtual SharedConnection* AcquireConnection(uint8_t variant) {
    static_cast<void>(variant);
    return nullptr;
  }
  // Returns true if the server said a while ago that it does not speak this variant, so that a
  // client that needs it does not wait for a connection here.
  virtual bool Refuses(uint8_t variant) const {
    static_cast<void>(variant);
    return false;
  }
  // The server refused the opening of a flow's own connection, of a variant other than the first.
  // `lacking`: it says that it does not speak the variant.
  virtual void OnVariantRefused(uint8_t variant, bool lacking) {
    static_cast<void>(variant);
    static_cast<void>(lacking);
  }
  // Asks the carrier to notify its users when it next has room, because flows found none.
  virtual void Await() {}
  // Closes an idle connection for a client that needs its place at the endpoint. Returns false if
  // there is none.
  virtual bool MakeRoom() { return false; }
  // Called when such a client has returned its place.
  virtual void OnPlaceFree() {}
  // Dials again, after this machine lacked a resource for a connection.
  virtual void DialAgain() {}
  // Returns true if the carrier has no users and no connections and may be deleted.
  virtual bool idle() const = 0;

 protected:
  const AddressRotation& targets() const { return targets_; }
  bool used() const { return !users_.empty(); }
  bool AnyUserWaits() const {
    return std::any_of(users_.begin(), users_.end(),
                       [](const User* user) { return user->waits(); });
  }
  bool AnyUserHasOthers() const {
    return std::any_of(users_.begin(), users_.end(),
                       [](const User* user) { return user->has_others(); });
  }
  void NotifyUsers() {
    for (User* user : users_) user->OnCarrierChanged(*this);
  }
  void NotifyOfRoom() {
    for (User* user : users_) user->OnCarrierRoom(*this);
  }
  void NotifyInbandReport(const InbandReport& report) {
    for (User* user : users_) user->OnInbandReport(*this, report);
  }
  void NotifyLoadUnknown() {
    for (User* user : users_) user->OnLoadUnknown(*this);
  }

 private:
  // The addresses changed.
  virtual void OnTarget() {}
  virtual void OnUsed() {}
  virtual void OnUnused() {}

  AddressRotation targets_;
  std::vector<User*> users_;
};

}  // namespace trunkline
