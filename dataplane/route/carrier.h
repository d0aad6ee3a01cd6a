// A worker's way to one endpoint: what the router asks of it, whatever the mode.
//
// A TrunkPool carries flows of every service whose endpoint has that agent; a SharedPool and a
// DirectCarrier carry those of one service.
//
// Confined to its worker's loop. A carrier that nobody uses any more ends what it has and is
// deleted by its worker when idle().
#pragma once

#include <algorithm>
#include <vector>

#include "common/inband/inband_report.h"
#include "common/net/socket.h"

namespace trunkline {

class SharedConnection;
class TrunkConnection;

class Carrier {
 public:
  // Outlives its registration. Starts no flow before it returns: the carrier is in the middle of
  // something.
  class User {
   public:
    virtual ~User() = default;
    // The carrier became usable or stopped being so, or has room again after it had none.
    virtual void OnCarrierChanged(Carrier& carrier) = 0;
    // It has room, or may make some, after Await.
    virtual void OnCarrierRoom(Carrier& carrier) = 0;
    // The agent at its end says how loaded a service's server is, or will not say so any more.
    virtual void OnInbandReport(Carrier& carrier, const InbandReport& word) = 0;
    virtual void OnLoadUnknown(Carrier& carrier) = 0;
  };

  virtual ~Carrier() = default;

  void AddUser(User* user) {
    users_.push_back(user);
    OnUsed();
  }
  void RemoveUser(User* user) {
    users_.erase(std::find(users_.begin(), users_.end(), user));
    if (users_.empty()) OnUnused();
  }
  // Where to dial. Changes when the name resolves to something else.
  virtual void SetTarget(const SocketAddress& target) = 0;
  // A flow that starts now will probably get there.
  virtual bool usable() const = 0;
  // Returns a trunk with room for one more stream, or null. Null in other modes than tunnel.
  virtual TrunkConnection* AcquireTrunk() { return nullptr; }
  // Returns a shared connection with room for one more request, or null. Null in other modes than
  // message.
  virtual SharedConnection* AcquireConnection() { return nullptr; }
  // Flows wait that found no room here: users are to be told of the next.
  virtual void Await() {}
  // Gives up a connection that does nothing, for a client that needs its place at the endpoint.
  virtual bool MakeRoom() { return false; }
  // Such a client has given its place back.
  virtual void OnPlaceFree() {}
  // Something that this machine lacked for a connection may be there again.
  virtual void DialAgain() {}
  // No users and no connections: may be deleted.
  virtual bool idle() const = 0;

 protected:
  bool used() const { return !users_.empty(); }
  void NotifyUsers() {
    for (User* user : users_) user->OnCarrierChanged(*this);
  }
  void NotifyOfRoom() {
    for (User* user : users_) user->OnCarrierRoom(*this);
  }
  void NotifyInbandReport(const InbandReport& word) {
    for (User* user : users_) user->OnInbandReport(*this, word);
  }
  void NotifyLoadUnknown() {
    for (User* user : users_) user->OnLoadUnknown(*this);
  }

 private:
  virtual void OnUsed() {}
  virtual void OnUnused() {}

  std::vector<User*> users_;
};

}  // namespace trunkline
