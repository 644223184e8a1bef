-- Devices and quotas.


-- Superseded changes.


-- Lists of conversations.

