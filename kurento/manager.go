package kurento

import "context"

// ServerManagerID is the id of the one object that every KMS has.
const ServerManagerID ObjectID = "manager_ServerManager"

// ServerManager is the handle of KMS itself. It raises ObjectCreated and
// ObjectDestroyed for the objects of all sessions.
type ServerManager struct{ Object }

// ServerInfo describes a KMS.
type ServerInfo struct {
	Version      string       `json:"version"`
	Type         string       `json:"type"` // "KMS"
	Capabilities []string     `json:"capabilities"`
	Modules      []ModuleInfo `json:"modules"`
}

// ModuleInfo describes a module of a KMS.
type ModuleInfo struct {
	Name           string   `json:"name"`
	Version        string   `json:"version"`
	GenerationTime string   `json:"generationTime"`
	Factories      []string `json:"factories"`
}

// ServerManager returns the handle of KMS itself.
func (c *Client) ServerManager() ServerManager { return ServerManager{c.Object(ServerManagerID)} }

// Info returns version and modules.
func (m ServerManager) Info(ctx context.Context) (ServerInfo, error) {
	var info ServerInfo
	err := m.Get(ctx, "info", &info)
	return info, err
}

// Pipelines returns the pipelines of all sessions.
func (m ServerManager) Pipelines(ctx context.Context) ([]ObjectID, error) {
	var ids []ObjectID
	err := m.Get(ctx, "pipelines", &ids)
	return ids, err
}
