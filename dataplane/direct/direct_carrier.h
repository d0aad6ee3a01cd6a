// The carrier of one endpoint of a service in `direct` mode. It pools nothing and has only an
// address. Confined to its worker's loop.
#pragma once

#include "dataplane/route/carrier.h"

namespace trunkline {

class DirectCarrier final : public Carrier {
 public:
  void SetTarget(const SocketAddress&) override {
    if (has_target_) return;
    has_target_ = true;
    NotifyUsers();
  }
  bool usable() const override { return has_target_; }
  bool idle() const override { return !used(); }

 private:
  bool has_target_ = false;
};

}  // namespace trunkline
