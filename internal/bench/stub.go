package main
import "context"
func (r *rig) memory(context.Context) ([]row, error) {return nil,nil}
func (r *rig) posts(context.Context) ([]row, error) {return nil,nil}
func (r *rig) hot(context.Context) ([]row, error) {return nil,nil}
func (r *rig) checks(context.Context) ([]row, error) {return nil,nil}
func (r *rig) noticeDelay(context.Context) ([]row, error) {return nil,nil}
